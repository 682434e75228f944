// The shared sample images, where they are at hand: $PLOOP_SHARED, else ../shared beside the source. Every
// one reads with its documented content or gives its documented error.
#include <gtest/gtest.h>

#include <cstdlib>

#include "format/extension.hpp"
#include "image/check.hpp"
#include "image/create.hpp"
#include "image/extension_file.hpp"
#include "io/memory_file.hpp"
#include "io/posix_file.hpp"
#include "support.hpp"

namespace ploop::golden {
namespace {

using image::CheckOptions;
using image::Delta;
using image::Kind;
using image::Stack;

std::filesystem::path samples() {
  const char* shared = std::getenv("PLOOP_SHARED");
  const std::filesystem::path root = shared != nullptr ? shared : PLOOP_SOURCE_DIR "/../shared";
  return root / "samples";
}

class Samples : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(samples() / "README.md")) GTEST_SKIP() << "no samples in " << samples();
  }
  /// Unpacked copy of NAME.hds.xz or NAME.bz2.
  std::string sample(const std::string& name) {
    const std::string target = directory_.file(name);
    if (std::filesystem::exists(target)) return target;
    auto packed = samples() / (name + ".hds.xz");
    if (!std::filesystem::exists(packed)) packed = samples() / (name + ".bz2");
    const Status status = unpack(packed, target);
    if (!status) throw std::runtime_error(status.error().message());
    return target;
  }
  Result<Stack> stack_of(const std::vector<std::string>& names) {
    std::vector<Delta> deltas;
    for (const std::string& name : names) {
      auto file = TRY(open_path(sample(name), false));
      deltas.push_back(TRY(Delta::open(std::move(file), Kind::Ploop1, {})));
    }
    return Stack::make(std::move(deltas));
  }
  std::string content(const std::vector<std::string>& names) {
    const auto stack = stack_of(names);
    if (!stack) return stack.error().message();
    const auto hash = sha256_of_guest(*stack);
    return hash ? *hash : hash.error().message();
  }
  Result<image::CheckReport> check(const std::string& name, const CheckOptions& options) {
    return image::check_file(sample(name), options);
  }
  TemporaryDirectory directory_;
};

TEST_F(Samples, ContentIsAsDocumented) {
  const std::pair<const char*, const char*> rows[] = {
      {"parallels-v1", "15faf41ebc93b5f734341cb7a2d909001e3f7306960f9d8bc63894f2a8e5bc45"},
      {"parallels-v2", "15faf41ebc93b5f734341cb7a2d909001e3f7306960f9d8bc63894f2a8e5bc45"},
      {"data-v1-32k-16m", "f7e9409a0bce5d28c37aad8b12ae51d3f56b33c37edd04aafe79e56e59de3c15"},
      {"data-v2-32k-256m", "da4ce85d4364d1766c122f6bcc96d4b622acef86344d2f9ea273499693ebfaa5"},
      {"stack-base-v2", "e19cfe6bceffb969f6ea283b6786174561ff3dc410d0ee5cc7ab020562ea9548"},
      {"stack-mid-v2", "302e50bf26314180fefba96813d3136257d3115439d72c5db36343beda705d4c"},
      {"stack-top-v2", "881ddfe87db9dfce1efd9c2b4cd9f36abaafc07695bf8329010d363d61e00ae9"},
      {"grow-before-v2", "e774689f415b53105fc1f8a3827854dcec8921b115e5ded7a2d024b9d2c51d3e"},
      {"grow-after-v2", "850afb6279ad28489485a7903ad5037e5c9a0738507dea2d57f46ce18c5072fa"},
  };
  for (const auto& [name, hash] : rows)
    EXPECT_EQ(content({name}), hash) << name;
}

TEST_F(Samples, StacksReadAsDocumented) {
  EXPECT_EQ(content({"stack-base-v2", "stack-mid-v2"}),
            "b045283ba0d05d3bd8c63ee7c01dbeb106887cb3c5d364e73285617996268d49");
  EXPECT_EQ(content({"stack-base-v2", "stack-mid-v2", "stack-top-v2"}),
            "65c08faf50eefc4eb3015887f8c4e365920a6490ed75d07c1777b206d39bdc01");
}

/// Their documented content is nothing but zeros, which an empty map proves without reading gigabytes.
TEST_F(Samples, EmptyImagesAreZeros) {
  for (const auto& [name, gib] : {std::pair<const char*, std::uint64_t>{"init-1g-v1", 1},
                                  {"init-1g-v2", 1},
                                  {"qemu-create-1g", 1},
                                  {"parallels-with-bitmap", 64}}) {
    const auto stack = stack_of({name});
    ASSERT_TRUE(stack) << stack.error().message();
    EXPECT_EQ(stack->size_bytes(), gib * kGiB) << name;
    for (const image::Location& where : stack->resolve_all())
      ASSERT_FALSE(where.present()) << name;
  }
}

TEST_F(Samples, NewImagesAreByteIdentical) {
  for (const auto& [name, version] :
       {std::pair{"init-1g-v1", format::Version::V1}, {"init-1g-v2", format::Version::V2}}) {
    const std::string path = directory_.file(std::string("new-") + name);
    ASSERT_TRUE(image::create_image(path, {.version = version, .size_sectors = 2097152}));
    EXPECT_EQ(*sha256_of_file(path), *sha256_of_file(sample(name)));
  }
}

TEST_F(Samples, EveryImageWithoutDamageOpensForWriting) {
  for (const char* name : {"parallels-v1", "parallels-v2", "parallels-with-bitmap", "qemu-create-1g",
                           "init-1g-v1", "init-1g-v2", "data-v1-32k-16m", "data-v2-32k-256m", "stack-base-v2",
                           "stack-mid-v2", "stack-top-v2", "grow-before-v2", "grow-after-v2"}) {
    const auto delta = Delta::open(*open_path(sample(name), true), Kind::Ploop1,
                                   {.allow_in_use = false, .writable = true, .raw_cluster_sectors = 64});
    EXPECT_TRUE(delta) << delta.error().message();
  }
}

TEST_F(Samples, DamagedImagesAreRefusedAndNotChanged) {
  for (const auto& [name, code] : {std::pair{"bad-dup-v2", ExitCode::Format},
                                   {"bad-eof-v2", ExitCode::Format},
                                   {"bad-hdrptr-v2", ExitCode::Format},
                                   {"bad-misaligned-v1", ExitCode::Format},
                                   {"bad-slot-past-end-v2", ExitCode::Format},
                                   {"dirty-tail-v2", ExitCode::InUse}}) {
    const std::string before = *sha256_of_file(sample(name));
    for (const bool writable : {false, true}) {
      const auto delta =
          Delta::open(*open_path(sample(name), true), Kind::Ploop1,
                      {.allow_in_use = false, .writable = writable, .raw_cluster_sectors = 64});
      ASSERT_FALSE(delta) << name;
      EXPECT_EQ(delta.error().code, code) << delta.error().message();
    }
    EXPECT_EQ(*sha256_of_file(sample(name)), before);
  }
}

TEST_F(Samples, DirtyTailIsRepairedToTheDocumentedBytes) {
  EXPECT_EQ(check("dirty-tail-v2", {.read_only = true})->exit, ExitCode::InUse);
  EXPECT_EQ(check("dirty-tail-v2", {.read_only = true, .drop_in_use = true})->exit, ExitCode::Write);
  const auto report = check("dirty-tail-v2", {.force = true, .drop_in_use = true});
  ASSERT_TRUE(report);
  EXPECT_EQ(report->exit, ExitCode::Ok);
  EXPECT_EQ(std::filesystem::file_size(sample("dirty-tail-v2")), 131072u);
  EXPECT_EQ(*sha256_of_file(sample("dirty-tail-v2")),
            "808102f12ac62ef9b86d09bc48ad0559ef273e31d6f9a72a3fca0b560b3970e3");
  EXPECT_EQ(content({"dirty-tail-v2"}), "46d0e4ae66e665c9d7a71487ec22fd04edc535c6b422af24a8a021e6e19c2a9a");
}

TEST_F(Samples, DamageIsFoundAndRepairedAsDocumented) {
  const auto exit_of = [this](const char* name, const CheckOptions& options) {
    const auto report = check(name, options);
    return report ? report->exit : report.error().code;
  };
  EXPECT_EQ(exit_of("bad-dup-v2", {.force = true}), ExitCode::Ok);
  EXPECT_EQ(exit_of("bad-dup-v2", {.force = true, .check = true}), ExitCode::Format);
  EXPECT_EQ(exit_of("bad-eof-v2", {.force = true}), ExitCode::Format);
  EXPECT_EQ(exit_of("bad-hdrptr-v2", {.force = true, .check = true}), ExitCode::Format);
  EXPECT_EQ(exit_of("bad-misaligned-v1", {.force = true}), ExitCode::Format);
  EXPECT_EQ(exit_of("bad-slot-past-end-v2", {.force = true}), ExitCode::Ok);
  for (const char* name : {"bad-dup-v2", "bad-eof-v2", "bad-hdrptr-v2", "bad-misaligned-v1"}) {
    EXPECT_EQ(exit_of(name, {.hard_force = true}), ExitCode::Ok) << name;
    EXPECT_EQ(exit_of(name, {.force = true, .check = true, .read_only = true}), ExitCode::Ok) << name;
    EXPECT_TRUE(stack_of({name})) << name;
  }
  // The doubly used cluster has become two with the same bytes.
  const auto stack = stack_of({"bad-dup-v2"});
  const auto first = stack->resolve(1);
  const auto second = stack->resolve(9);
  EXPECT_NE(first.cluster, second.cluster);
  std::vector<std::byte> a(stack->cluster_bytes());
  std::vector<std::byte> b(stack->cluster_bytes());
  ASSERT_TRUE(stack->read(1 * stack->cluster_bytes(), a));
  ASSERT_TRUE(stack->read(9 * stack->cluster_bytes(), b));
  EXPECT_EQ(a, b);
  for (const char* name : {"bad-eof-v2", "bad-misaligned-v1"})
    EXPECT_FALSE(stack_of({name})->resolve(9).present());
}

TEST_F(Samples, DirtyBitmapIsReadAndAWriterForgetsIt) {
  auto file = *open_path(sample("parallels-with-bitmap"), true);
  const auto header =
      Delta::open(*open_path(sample("parallels-with-bitmap"), false), Kind::Ploop1, {})->header();
  const auto extension = image::read_extension(*file, header, *io::file_size(*file));
  ASSERT_TRUE(extension) << extension.error().message();
  ASSERT_TRUE(*extension && (*extension)->bitmap);
  const format::DirtyBitmap& bitmap = *(*extension)->bitmap;
  EXPECT_EQ(bitmap.granularity_sectors, 128u);
  const std::uint8_t id[] = {0xe4, 0xf2, 0xee, 0xd0, 0x37, 0xfe, 0x45, 0x39,
                             0xb5, 0x0b, 0x85, 0xd2, 0xe7, 0xfd, 0x23, 0x5f};
  EXPECT_TRUE(std::equal(bitmap.id.begin(), bitmap.id.end(), id));
  const auto summary = image::summarize_bitmap(*file, header, bitmap, 10);
  ASSERT_TRUE(summary);
  EXPECT_EQ(summary->dirty_bits, 6u);
  EXPECT_EQ(summary->ranges, (std::vector<image::DirtyRange>{{5, 2}, {10, 3}, {30, 1}}));
  // Our encoder makes the very same cluster.
  std::vector<std::byte> stored(header.cluster_bytes());
  ASSERT_TRUE(io::read_exact(*file, stored, header.extension_sectors * kSectorSize, "extension"));
  EXPECT_EQ(*format::encode_extension(bitmap, header.cluster_bytes()), stored);
  // Checked by force it stays as it is.
  const std::string before = *sha256_of_file(sample("parallels-with-bitmap"));
  const auto report = check("parallels-with-bitmap", {.force = true, .check = true, .read_only = true});
  ASSERT_TRUE(report);
  EXPECT_EQ(*sha256_of_file(sample("parallels-with-bitmap")), before);
}

}  // namespace
}  // namespace ploop::golden
