#include "image/delta.hpp"

#include <gtest/gtest.h>
#include <md5.h>

#include <functional>
#include <numeric>

#include "format/extension.hpp"
#include "image/extension_file.hpp"
#include "image/table_io.hpp"
#include "image/test_image.hpp"

namespace ploop::image {
namespace {

using namespace testing;
using format::Version;
using io::MemoryFile;

TEST(DeltaOpen, GivesClusterNumbersForBothVersions) {
  for (const Version version : {Version::V1, Version::V2}) {
    const auto file = make_image({.version = version}, {{5, 1}, {0, 2}, {509, 4}});
    const auto delta = open_copy(*file);
    ASSERT_TRUE(delta) << delta.error().message();
    ASSERT_EQ(delta->table().size(), 510u);
    EXPECT_EQ(delta->table()[5], 1u);
    EXPECT_EQ(delta->table()[0], 2u);
    EXPECT_EQ(delta->table()[509], 4u);
    EXPECT_EQ(std::accumulate(delta->table().begin(), delta->table().end(), 0u), 7u);
    EXPECT_EQ(delta->end_cluster(), 5u);
    EXPECT_EQ(delta->file_bytes(), 5u * 32768);
    EXPECT_EQ(delta->kind(), Kind::Ploop1);
  }
}

TEST(DeltaOpen, ReadsTablesOfSeveralHeaderClusters) {
  // 33 header clusters of 32 KiB: more than one read piece.
  const ImageShape shape{.clusters = 270000};
  const auto header = *format::make_header(shape.clusters * 64, 64, Version::V2);
  ASSERT_EQ(header.header_clusters(), 33u);
  const auto file =
      make_image(shape, {{0, 33}, {8175, 34}, {8176, 35}, {262127, 36}, {262128, 37}, {269999, 38}});
  const auto delta = open_copy(*file);
  ASSERT_TRUE(delta) << delta.error().message();
  EXPECT_EQ(delta->table()[8175], 34u);
  EXPECT_EQ(delta->table()[8176], 35u);
  EXPECT_EQ(delta->table()[262127], 36u);
  EXPECT_EQ(delta->table()[262128], 37u);
  EXPECT_EQ(delta->table()[269999], 38u);
}

struct Damage {
  const char* name;
  Version version;
  std::function<void(MemoryFile&)> change;
  ExitCode code;  // Ok: opens
  const char* message = "";
};

class DamagedImage : public ::testing::TestWithParam<Damage> {};

TEST_P(DamagedImage, OpensOrIsRefusedWithTheReason) {
  const Damage& row = GetParam();
  const auto file = make_image({.version = row.version}, {{3, 1}, {1, 2}, {2, 3}});
  row.change(*file);
  const auto before = bytes_of(*file);
  for (const bool writable : {false, true}) {
    const auto delta =
        open_copy(*file, {.allow_in_use = false, .writable = writable, .raw_cluster_sectors = 64});
    if (row.code == ExitCode::Ok) {
      EXPECT_TRUE(delta) << delta.error().message();
      continue;
    }
    ASSERT_FALSE(delta);
    EXPECT_EQ(delta.error().code, row.code) << delta.error().message();
    EXPECT_EQ(delta.error().message(), row.message);
  }
  EXPECT_EQ(bytes_of(*file), before);
}

constexpr auto kNothing = [](MemoryFile&) {};

INSTANTIATE_TEST_SUITE_P(
    Kinds, DamagedImage,
    ::testing::Values(
        Damage{"None", Version::V2, kNothing, ExitCode::Ok},
        Damage{"ExtraClusters", Version::V2, [](auto& f) { f.truncate(9 * 32768); }, ExitCode::Ok},
        Damage{"PartialTailUnreferenced", Version::V2, [](auto& f) { f.truncate(4 * 32768 + 700); },
               ExitCode::Ok},
        Damage{"ForeignMark", Version::V2, [](auto& f) { put32(f, 44, 0x37316470); }, ExitCode::Ok},
        Damage{"StaleExtension", Version::V2, [](auto& f) { put32(f, 56, 64 * 99); }, ExitCode::Ok},
        Damage{"DamagedExtension", Version::V2,
               [](auto& f) { put32(f, 44, format::kClosedWithExtension), put32(f, 56, 64 * 3); },
               ExitCode::Ok},
        Damage{"InUse", Version::V2, [](auto& f) { put32(f, 44, format::kInUseMark); }, ExitCode::InUse,
               "Image is in use image"},
        Damage{"Converting", Version::V2, [](auto& f) { put32(f, 52, 2); }, ExitCode::Busy,
               "Image image is in the changing version state"},
        Damage{"Signature", Version::V2, [](auto& f) { put32(f, 0, 1); }, ExitCode::Format,
               "Wrong signature in image image"},
        Damage{"EmptyFile", Version::V2, [](auto& f) { f.truncate(0); }, ExitCode::Read,
               "read image: header at byte 0: the file ends there"},
        Damage{"ShortFile", Version::V2, [](auto& f) { f.truncate(63); }, ExitCode::Read,
               "read image: header at byte 0: the file ends there"},
        Damage{"HeaderOnly", Version::V2, [](auto& f) { f.truncate(64); }, ExitCode::Read,
               "Image image is shorter than its cluster table"},
        Damage{"TableCut", Version::V2, [](auto& f) { f.truncate(64 + 509 * 4); }, ExitCode::Read,
               "Image image is shorter than its cluster table"},
        Damage{"FirstBlockFarBeyondEof", Version::V2, [](auto& f) { put32(f, 48, 0xFFFFFF00); },
               ExitCode::Format, "Wrong first block offset in image image"},
        Damage{"SlotTwice", Version::V2, [](auto& f) { put_slot(f, 9, 2); }, ExitCode::Format,
               "Block 2 is used more than once in image image"},
        Damage{"SlotInHeader", Version::V1, [](auto& f) { put32(f, 48, 128); }, ExitCode::Format,
               "Data cluster 1 in the header, vsec=192 in image image"},
        Damage{"SlotAtEof", Version::V2, [](auto& f) { put_slot(f, 9, 4); }, ExitCode::Format,
               "Data cluster 4 beyond EOF, vsec=576 in image image"},
        Damage{"SlotFarBeyondEof", Version::V2, [](auto& f) { put_slot(f, 9, 0xFFFFFFFE); }, ExitCode::Format,
               "Data cluster 4294967294 beyond EOF, vsec=576 in image image"},
        Damage{"SlotReserved", Version::V2, [](auto& f) { put_slot(f, 9, 0xFFFFFFFF); }, ExitCode::Format,
               "Wrong slot 0xffffffff, vsec=576 in image image"},
        Damage{"SlotReservedV1", Version::V1, [](auto& f) { put_slot(f, 9, 0xFFFFFFFF); }, ExitCode::Format,
               "Wrong slot 0xffffffff, vsec=576 in image image"},
        Damage{"SlotMisaligned", Version::V1, [](auto& f) { put_slot(f, 9, 65); }, ExitCode::Format,
               "Wrong slot 0x41, vsec=576 in image image"},
        Damage{"SlotBehindDevice", Version::V2, [](auto& f) { put_slot(f, 600, 2); }, ExitCode::Format,
               "Data cluster beyond block device size, vsec=38400 in image image"},
        Damage{"SlotRightBehindDevice", Version::V2, [](auto& f) { put_slot(f, 510, 1); }, ExitCode::Format,
               "Data cluster beyond block device size, vsec=32640 in image image"},
        Damage{"LastWordOfHeaderCluster", Version::V2, [](auto& f) { put32(f, 32764, 1); }, ExitCode::Format,
               "Data cluster beyond block device size, vsec=523200 in image image"},
        Damage{"SlotInPartialTail", Version::V2,
               [](auto& f) { put_slot(f, 9, 4), f.truncate(5 * 32768 - 1); }, ExitCode::Format,
               "Data cluster 4 beyond EOF, vsec=576 in image image"}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(DeltaOpen, InUseImageOpensWhenAllowed) {
  const auto file = make_image({}, {{3, 1}});
  put32(*file, 44, format::kInUseMark);
  const auto delta = open_copy(*file, {.allow_in_use = true, .writable = true, .raw_cluster_sectors = 64});
  ASSERT_TRUE(delta);
  EXPECT_TRUE(delta->header().is_in_use());
}

TEST(DeltaOpen, UnalignedSizeIsReadOnly) {
  const auto file = make_image({.clusters = 11}, {{10, 1}});
  put32(*file, 36, 10 * 64 + 1);
  EXPECT_TRUE(open_copy(*file));
  const auto writable =
      open_copy(*file, {.allow_in_use = false, .writable = true, .raw_cluster_sectors = 64});
  ASSERT_FALSE(writable);
  EXPECT_EQ(writable.error().code, ExitCode::Format);
}

TEST(DeltaOpen, HeaderAreaCutBehindTheTableIsReadOnly) {
  const auto file = make_image({.clusters = 8176 + 10}, {});
  file->truncate(64 + 4 * (8176 + 10) + 3);
  EXPECT_TRUE(open_copy(*file));
  EXPECT_EQ(
      open_copy(*file, {.allow_in_use = false, .writable = true, .raw_cluster_sectors = 64}).error().code,
      ExitCode::Format);
}

TEST(DeltaOpen, HugeTableOfASparseFileIsRefusedBeforeMemoryIsTaken) {
  MemoryFile file("image");
  put_header(file, *format::make_header(0xFFFFFFFFull * 64, 64, Version::V2));
  file.truncate(20ull << 30);
  const auto delta = open_copy(file);
  ASSERT_FALSE(delta);
  EXPECT_EQ(delta.error().message(), "Too large a table (4294967295 clusters) in image image");
}

TEST(DeltaOpen, FarSlotsOfASparseFileCostNoMemory) {
  const auto file = make_image({}, {{3, 1}});
  put_slot(*file, 7, 0xFFFFFFF0);
  file->truncate(0x100000000ull * 32768);
  const auto delta = open_copy(*file);
  ASSERT_TRUE(delta) << delta.error().message();
  EXPECT_EQ(delta->table()[7], 0xFFFFFFF0u);
  put_slot(*file, 8, 0xFFFFFFF0);
  EXPECT_FALSE(open_copy(*file));
}

TEST(DeltaOpen, FileLongerThanItsSlotsCanReachIsReadOnly) {
  for (const Version version : {Version::V1, Version::V2}) {
    const auto file = make_image({.version = version}, {{3, 1}});
    file->truncate((version == Version::V1 ? 1ull << 26 : 0xFFFFFFFFull) * 32768);
    EXPECT_TRUE(open_copy(*file, {.writable = true}));
    file->truncate(static_cast<std::uint64_t>(file->size()) + 32768);
    EXPECT_TRUE(open_copy(*file));
    EXPECT_EQ(open_copy(*file, {.writable = true}).error().code, ExitCode::Format);
  }
}

TEST(DeltaOpen, EveryTruncationOfHeaderAndTableIsRefused) {
  const auto file = make_image({.clusters = 9000}, {{8999, 2}});
  for (std::uint64_t length = 0; length < 3 * 32768; length += 512) {
    const auto cut = copy_of(*file);
    cut->truncate(length);
    EXPECT_FALSE(Delta::open(copy_of(*cut), Kind::Ploop1, {})) << length;
  }
  EXPECT_TRUE(open_copy(*file));
}

TEST(DeltaOpen, ReadErrorIsReported) {
  class Broken final : public io::BlockFile {
   public:
    explicit Broken(const MemoryFile& f) : inner_(f) {}
    std::int64_t read(std::span<std::byte> data, std::uint64_t offset) override {
      return data.size() > 64 ? -EIO : inner_.read(data, offset);
    }
    std::int64_t write(std::span<const std::byte>, std::uint64_t) override { return -EBADF; }
    int sync() override { return -EBADF; }
    int truncate(std::uint64_t) override { return -EBADF; }
    int allocate(std::uint64_t, std::uint64_t) override { return -EBADF; }
    int punch(std::uint64_t, std::uint64_t) override { return -EBADF; }
    int clone(BlockFile&, std::uint64_t, std::uint64_t, std::uint64_t) override { return -EBADF; }
    std::int64_t size() override { return inner_.size(); }
    const std::string& name() const override { return inner_.name(); }

   private:
    MemoryFile inner_;
  };
  const auto file = make_image({}, {{3, 1}});
  const auto delta = Delta::open(std::make_unique<Broken>(*file), Kind::Ploop1, {});
  ASSERT_FALSE(delta);
  EXPECT_EQ(delta.error().code, ExitCode::Read);
  EXPECT_EQ(delta.error().sys_errno, EIO);
}

// ------------------------------------------------------------------------------------------------ raw

TEST(RawOpen, HeaderIsMadeUpFromTheLength) {
  MemoryFile file("raw");
  file.truncate(5 * 32768 + 513);
  const auto delta = Delta::open(copy_of(file), Kind::Raw,
                                 {.allow_in_use = false, .writable = false, .raw_cluster_sectors = 64});
  ASSERT_TRUE(delta);
  EXPECT_EQ(delta->raw_clusters(), 6u);
  EXPECT_EQ(delta->size_sectors(), 5 * 64 + 2u);
  EXPECT_EQ(delta->cluster_sectors(), 64u);
  EXPECT_TRUE(delta->table().empty());
  EXPECT_FALSE(Delta::open(copy_of(file), Kind::Raw,
                           {.allow_in_use = false, .writable = true, .raw_cluster_sectors = 64}));
}

TEST(RawOpen, WrongClusterSizeAndEmptyFileAreRefused) {
  MemoryFile file("raw");
  EXPECT_EQ(Delta::open(copy_of(file), Kind::Raw, {}).error().code, ExitCode::Format);
  file.truncate(4096);
  const auto delta = Delta::open(copy_of(file), Kind::Raw,
                                 {.allow_in_use = false, .writable = false, .raw_cluster_sectors = 63});
  EXPECT_EQ(delta.error().code, ExitCode::Param);
  file.truncate(std::uint64_t{1} << 62);
  EXPECT_EQ(Delta::open(copy_of(file), Kind::Raw, {}).error().code, ExitCode::Format);
}

// ------------------------------------------------------------------------------------------------ extension

/// Data clusters 1..3, bitmap in cluster 4, extension in cluster 5.
std::unique_ptr<MemoryFile> image_with_extension() {
  auto file = make_image({}, {{3, 1}, {1, 2}, {2, 3}});
  format::Header header = *format::make_header(510 * 64, 64, Version::V2);
  header.flags = 0;
  header.in_use = format::kClosedWithExtension;
  header.extension_sectors = 5 * 64;
  put_header(*file, header);
  format::DirtyBitmap bitmap;
  bitmap.size_sectors = header.size_sectors;
  bitmap.granularity_sectors = 64;
  bitmap.l1 = {4 * 64};
  const std::byte bits[] = {std::byte{0x60}, std::byte{0x1c}, std::byte{0}, std::byte{0x80}, std::byte{0x01}};
  file->write(bits, 4 * 32768);
  file->write(*format::encode_extension(bitmap, header.cluster_bytes()), 5 * 32768);
  return file;
}

TEST(ExtensionFile, IsReadAndSummedUp) {
  const auto file = image_with_extension();
  const auto delta = open_copy(*file, {.allow_in_use = false, .writable = true, .raw_cluster_sectors = 64});
  ASSERT_TRUE(delta) << delta.error().message();
  const auto extension = read_extension(*file, delta->header(), delta->file_bytes());
  ASSERT_TRUE(extension);
  ASSERT_TRUE(*extension);
  EXPECT_EQ(extension_clusters(delta->header(), **extension), (std::vector<std::uint64_t>{4, 5}));
  const auto summary = summarize_bitmap(*file, delta->header(), *(*extension)->bitmap, 10);
  ASSERT_TRUE(summary);
  EXPECT_EQ(summary->dirty_bits, 7u);
  EXPECT_EQ(summary->ranges, (std::vector<DirtyRange>{{5, 2}, {10, 3}, {31, 2}}));
}

TEST(ExtensionFile, IsIgnoredUnlessTheHeaderVouchesForIt) {
  const auto file = image_with_extension();
  for (const std::uint32_t mark : {format::kClosedMark, format::kInUseMark, 0x37316470u}) {
    put32(*file, 44, mark);
    const auto delta = open_copy(*file, {.allow_in_use = true, .writable = true, .raw_cluster_sectors = 64});
    ASSERT_TRUE(delta);
    EXPECT_FALSE(*read_extension(*file, delta->header(), delta->file_bytes()));
  }
}

TEST(ExtensionFile, SharingAClusterWithDataIsRefused) {
  const auto file = image_with_extension();
  for (const std::uint32_t cluster : {4u, 5u}) {
    put_slot(*file, 9, cluster);
    const auto delta = open_copy(*file);
    ASSERT_FALSE(delta);
    EXPECT_EQ(delta.error().code, ExitCode::Format);
  }
}

TEST(ExtensionFile, OutsideOfTheFileIsAnError) {
  const auto file = image_with_extension();
  const auto delta = open_copy(*file);
  ASSERT_TRUE(delta);
  format::Header header = delta->header();
  for (const std::uint64_t sectors :
       {std::uint64_t{5 * 64 + 1}, std::uint64_t{6 * 64}, std::uint64_t{1}, ~std::uint64_t{63}}) {
    header.extension_sectors = sectors;
    EXPECT_FALSE(read_extension(*file, header, delta->file_bytes())) << sectors;
  }
}

TEST(ExtensionFile, WhatAWriterWouldLoseMakesTheImageReadOnly) {
  for (const std::uint32_t flags : {1u, 2u}) {
    const auto file = image_with_extension();
    put32(*file, 5 * 32768 + 24, 0x12345678);  // another feature
    put32(*file, 5 * 32768 + 32, flags);
    std::vector<std::byte> cluster(32768);
    file->read(cluster, 5 * 32768);
    MD5_CTX context;
    MD5Init(&context);
    MD5Update(&context, reinterpret_cast<const std::uint8_t*>(cluster.data()) + 24, cluster.size() - 24);
    std::array<std::uint8_t, 16> digest;
    MD5Final(digest.data(), &context);
    file->write(std::as_bytes(std::span(digest)), 5 * 32768 + 8);
    EXPECT_TRUE(open_copy(*file));
    const auto writable =
        open_copy(*file, {.allow_in_use = false, .writable = true, .raw_cluster_sectors = 64});
    ASSERT_FALSE(writable);
    EXPECT_EQ(writable.error().code, ExitCode::Format);
  }
}

TEST(FindDuplicate, SmallAndFarNumbers) {
  EXPECT_EQ(find_duplicate(std::vector<std::uint32_t>{0, 0, 3, 1, 0}), 0u);
  EXPECT_EQ(find_duplicate(std::vector<std::uint32_t>{0, 3, 1, 0, 3}), 3u);
  EXPECT_EQ(find_duplicate(std::vector<std::uint32_t>{0xFFFFFFF0, 1, 0, 0xFFFFFFF0}), 0xFFFFFFF0u);
  EXPECT_EQ(find_duplicate(std::vector<std::uint32_t>{0xFFFFFFF0, 1, 0, 0xFFFFFFF1}), 0u);
  EXPECT_EQ(find_duplicate({}), 0u);
}

}  // namespace
}  // namespace ploop::image
