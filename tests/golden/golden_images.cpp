#include "golden_images.hpp"

#include <md5.h>

#include <stdexcept>

#include "format/extension.hpp"
#include "image/create.hpp"
#include "image/lifecycle.hpp"
#include "image/test_image.hpp"

namespace ploop::golden {
namespace {

using namespace image::testing;
using format::Version;
using image::CreateFormat;
using image::Kind;
using io::MemoryFile;
using Made = std::unique_ptr<MemoryFile>;

Made created(const image::CreateOptions& options) {
  auto file = std::make_unique<MemoryFile>("golden");
  if (!image::write_new_image(*file, options)) throw std::runtime_error("cannot create");
  return file;
}

/// A new image with data in these places, closed as a device closes it.
Made written(const image::CreateOptions& options, std::uint32_t tag, const Slots& slots) {
  auto file = created(options);
  format::Header header = image::Delta::open(copy_of(*file), Kind::Ploop1, {})->header();
  if (!image::mark_in_use(*file, header)) throw std::runtime_error("cannot mark");
  std::uint64_t end = static_cast<std::uint64_t>(file->size()) / header.cluster_bytes();
  for (const auto& [guest, cluster] : slots) {
    file->write(pattern(tag, guest, header.cluster_bytes()), cluster * header.cluster_bytes());
    put_slot(*file, guest, format::slot_from_cluster(header, cluster));
    end = std::max<std::uint64_t>(end, cluster + 1u);
  }
  if (!image::close_image(*file, header, end)) throw std::runtime_error("cannot close");
  return file;
}

Made raw(std::uint64_t bytes, std::uint32_t tag) {
  auto file = std::make_unique<MemoryFile>("golden");
  for (std::uint32_t n = 0; n * 32768ull < bytes; ++n)
    file->write(pattern(tag, n, 32768), n * 32768ull);
  file->truncate(bytes);
  return file;
}

/// 510 clusters of 32 KiB with data in guest clusters 3, 1, 2, then changed.
Made damaged(Version version, const std::function<void(MemoryFile&)>& change) {
  auto file = written({.version = version, .size_sectors = 510 * 64, .cluster_sectors = 64}, 0x64,
                      {{3, 1}, {1, 2}, {2, 3}});
  change(*file);
  return file;
}

/// Bitmap in cluster 4, extension in cluster 5, with one more feature of the given flags unless they are 0.
void add_extension(MemoryFile& file, std::uint64_t unknown_flags) {
  format::Header header = *format::make_header(510 * 64, 64, Version::V2);
  header.flags = 0;
  header.in_use = format::kClosedWithExtension;
  header.extension_sectors = 5 * 64;
  put_header(file, header);
  format::DirtyBitmap bitmap;
  bitmap.size_sectors = header.size_sectors;
  bitmap.granularity_sectors = 64;
  for (std::size_t i = 0; i < 16; ++i)
    bitmap.id[i] = static_cast<std::uint8_t>(0xA0 + i);
  bitmap.l1 = {4 * 64};
  put32(file, 4 * 32768, 0x40001c60);
  std::vector<std::byte> cluster = *format::encode_extension(bitmap, 32768);
  file.write(cluster, 5 * 32768);
  if (unknown_flags == 0) return;
  // The same cluster, but its feature is of a kind that nobody knows.
  file.read(cluster, 5 * 32768);
  const le32 kind = 0x31415926u;
  const le32 flags = static_cast<std::uint32_t>(unknown_flags);
  std::memcpy(cluster.data() + 24, &kind, sizeof kind);
  std::memcpy(cluster.data() + 32, &flags, sizeof flags);
  MD5_CTX context;
  MD5Init(&context);
  MD5Update(&context, reinterpret_cast<const std::uint8_t*>(cluster.data()) + 24, cluster.size() - 24);
  MD5Final(reinterpret_cast<std::uint8_t*>(cluster.data()) + 8, &context);
  file.write(cluster, 5 * 32768);
}

std::vector<GoldenImage> sound_images() {
  constexpr ExitCode kOk = ExitCode::Ok;
  constexpr Kind kPloop1 = Kind::Ploop1;
  const auto image = [](CreateFormat format, Version version, std::uint64_t sectors, std::uint32_t cluster,
                        const Slots& slots) {
    return [=] {
      const image::CreateOptions options{
          .format = format, .version = version, .size_sectors = sectors, .cluster_sectors = cluster};
      return slots.empty() ? created(options) : written(options, 0x67, slots);
    };
  };
  const auto expanded = [&](Version version, std::uint64_t sectors, std::uint32_t cluster,
                            const Slots& slots) {
    return image(CreateFormat::Expanded, version, sectors, cluster, slots);
  };
  const auto full = [&](Version version, std::uint64_t sectors, std::uint32_t cluster, const Slots& slots) {
    return image(CreateFormat::Preallocated, version, sectors, cluster, slots);
  };
  constexpr Version v1 = Version::V1;
  constexpr Version v2 = Version::V2;
  return {
      {"empty-v1-32k-16m", expanded(v1, 32768, 64, {}), kPloop1, kOk, kOk, kOk, kOk,
       "080acf35a507ac9849cfcba47dc2ad83e01b75663a516279c8b9d243b719643e"},
      {"empty-v2-1m-64m", expanded(v2, 131072, 2048, {}), kPloop1, kOk, kOk, kOk, kOk,
       "3b6a07d0d404fab4e23b6d34bc6696a6a312dd92821332385e5af7c01c421351"},
      {"empty-v2-64m-128m", expanded(v2, 262144, 131072, {}), kPloop1, kOk, kOk, kOk, kOk,
       "254bcc3fc4f27172636df4bf32de9f107f620d559b20d760197e452b97453917"},
      {"data-v1-32k-16m", expanded(v1, 32768, 64, {{5, 1}, {0, 2}, {511, 4}, {1, 3}, {100, 7}}), kPloop1, kOk,
       kOk, kOk, kOk, "8c1dbcb4e78842eceddbd28ea087ee0be69ea975ef69ad7031725e912dd55b7f"},
      {"data-v2-32k-16m", expanded(v2, 32768, 64, {{511, 1}, {510, 2}, {0, 6}}), kPloop1, kOk, kOk, kOk, kOk,
       "52b7a40b08c43762900af402ab9652f9a8273b67abae5e6166be347c4fac9be0"},
      {"data-v2-32k-300m", expanded(v2, 614400, 64, {{0, 2}, {8175, 3}, {8176, 5}, {8177, 4}, {9599, 6}}),
       kPloop1, kOk, kOk, kOk, kOk, "5e067da91bb875e66ea27ef62bcccf1fd64f4c01e0a4128ecf8ad82861169402"},
      {"data-v2-64k-8m", expanded(v2, 16384, 128, {{1, 1}, {2, 2}}), kPloop1, kOk, kOk, kOk, kOk,
       "6e8b5f1750d012f915b38bb917a1fe7121b59195f36f32233e3aa2a072e305a2"},
      {"data-v2-256k-8m", expanded(v2, 16384, 512, {{31, 1}, {30, 3}}), kPloop1, kOk, kOk, kOk, kOk,
       "9500cb2e1badbd6a2cbeba04f1f3d27188c252714ff1e57f07a20afcbac28f4b"},
      {"data-v2-1m-16m", expanded(v2, 32768, 2048, {{15, 1}, {7, 2}}), kPloop1, kOk, kOk, kOk, kOk,
       "3d8a5435e69af803549346b888b2e092216559798c33cd287e8aa433c603e07e"},
      // New preallocated images carry the empty flag, which a check then finds wrong.
      {"full-v1-64k-1m", full(v1, 2048, 128, {}), kPloop1, kOk, kOk, ExitCode::Write, kOk,
       "30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58"},
      {"full-v2-256k-4m", full(v2, 8192, 512, {}), kPloop1, kOk, kOk, ExitCode::Write, kOk,
       "bb9f8df61474d25e71fa00722318cd387396ca1736605e1248821cc0de3d3af8"},
      {"full-v2-32k-1m-data", full(v2, 2048, 64, {{3, 4}, {31, 32}}), kPloop1, kOk, kOk, kOk, kOk,
       "17172bed6e164808fc98bc28715b3be47ad2b7c24ff6bbf74aa554974fb2611f"},
      {"raw-100000", [] { return raw(100000, 0x52); }, Kind::Raw, kOk, ExitCode::Format, kOk, kOk,
       "2479132726eaeb67a5a2327834c82c2a21c07320559a8983089c28a30497a5b3"},
      {"stack-v1-base", expanded(v1, 20 * 64, 64, {{0, 1}, {1, 2}, {2, 3}, {19, 4}}), kPloop1, kOk, kOk, kOk,
       kOk, "7b2882039096e5e407ebbd4396c97ad73dac47f13e9d19bb951411469f6747f5"},
      {"stack-v1-mid",
       [] {
         return written({.version = Version::V1, .size_sectors = 20 * 64, .cluster_sectors = 64}, 0x6d,
                        {{1, 2}, {5, 1}});
       },
       kPloop1, kOk, kOk, kOk, kOk, "4507923b194be1c9803d53389a1d2f08a99c4f7b07c02367a7adfe743efa1b54"},
      {"stack-v1-top",
       [] {
         return written({.version = Version::V1, .size_sectors = 30 * 64, .cluster_sectors = 64}, 0x74,
                        {{2, 1}, {5, 3}, {29, 2}});
       },
       kPloop1, kOk, kOk, kOk, kOk, "38e2bf4a6b8d98a4838c2d73048691c5678331d916ca56d1906515f769140c4b"},
      {"stack-over-raw",
       [] {
         return written({.size_sectors = 6 * 64, .cluster_sectors = 64}, 0x6f, {{1, 1}, {5, 2}});
       },
       kPloop1, kOk, kOk, kOk, kOk, "05705b406289c3812988b6327de4d2f11c733b82022acc5f899e9917edef57c1"},
  };
}

std::vector<GoldenImage> damaged_images() {
  constexpr ExitCode kOk = ExitCode::Ok;
  constexpr ExitCode kFormat = ExitCode::Format;
  const auto row = [](const char* name, Version version, ExitCode opens, ExitCode writes, ExitCode check,
                      ExitCode repair, const std::function<void(MemoryFile&)>& change,
                      const char* guest = "") {
    return GoldenImage{
        name, [=] { return damaged(version, change); }, Kind::Ploop1, opens, writes, check, repair, guest};
  };
  constexpr Version v1 = Version::V1;
  constexpr Version v2 = Version::V2;
  return {
      row("bad-double", v2, kFormat, kFormat, kFormat, kOk, [](auto& f) { put_slot(f, 9, 2); }),
      row("bad-beyond-eof", v2, kFormat, kFormat, kFormat, kOk, [](auto& f) { put_slot(f, 9, 4); }),
      row("bad-in-header", v1, kFormat, kFormat, kFormat, kOk, [](auto& f) { put32(f, 48, 128); }),
      row("bad-misaligned-v1", v1, kFormat, kFormat, kFormat, kOk, [](auto& f) { put_slot(f, 9, 65); }),
      row("bad-reserved-slot", v2, kFormat, kFormat, kFormat, kOk,
          [](auto& f) { put_slot(f, 9, 0xFFFFFFFF); }),
      row("bad-behind-device", v2, kFormat, kFormat, kFormat, kOk, [](auto& f) { put_slot(f, 510, 2); }),
      row("bad-cut-cluster", v2, kFormat, kFormat, kFormat, kOk, [](auto& f) { f.truncate(4 * 32768 - 1); }),
      row("bad-cut-table", v2, ExitCode::Read, ExitCode::Read, ExitCode::Read, ExitCode::Read,
          [](auto& f) { f.truncate(2000); }),
      row("bad-signature", v2, kFormat, kFormat, kFormat, kFormat, [](auto& f) { put32(f, 0, 0x74695758); }),
      row("bad-type", v2, kFormat, kFormat, kFormat, kFormat, [](auto& f) { put32(f, 16, 1); }),
      row("bad-cluster-size", v2, kFormat, kFormat, kFormat, kFormat, [](auto& f) { put32(f, 28, 504); }),
      row("bad-table-length", v2, kFormat, kFormat, kFormat, kFormat, [](auto& f) { put32(f, 32, 509); }),
      row("bad-size-high-word", v2, kFormat, kFormat, kFormat, kFormat, [](auto& f) { put32(f, 40, 1); }),
      row("bad-first-block", v2, kFormat, kFormat, kFormat, kFormat, [](auto& f) { put32(f, 48, 96); }),
      row("bad-first-block-far", v2, kFormat, kFormat, kFormat, kFormat,
          [](auto& f) { put32(f, 48, 0xFFFFFFC0); }),
      row("bad-flags", v2, kFormat, kFormat, kFormat, kFormat, [](auto& f) { put32(f, 52, 8); }),
      row("converting", v1, ExitCode::Busy, ExitCode::Busy, ExitCode::Busy, ExitCode::Busy,
          [](auto& f) { put32(f, 52, 2), put32(f, 44, format::kInUseMark); }),
      row("dirty-tail", v2, ExitCode::InUse, ExitCode::InUse, ExitCode::InUse, kOk,
          [](auto& f) { put32(f, 52, 1), put32(f, 44, format::kInUseMark), f.truncate(6 * 32768 + 5); }),
      row(
          "unaligned-size", v2, kOk, kFormat, kOk, kOk, [](auto& f) { put32(f, 36, 510 * 64 - 7); },
          "c72cbf8da6f186d3084678dc440c25f1658f1b60d54938b29f11c59a20e5d595"),
      row(
          "odd-tail", v2, kOk, kOk, kOk, kOk, [](auto& f) { f.truncate(4 * 32768 + 512); },
          "449e4e9b7c2b3b7e4c50acb8915b0143ea14e1e1099b1430676d9bcb197a3806"),
      row(
          "foreign-mark", v2, kOk, kOk, kOk, kOk, [](auto& f) { put32(f, 44, 0x37316470); },
          "449e4e9b7c2b3b7e4c50acb8915b0143ea14e1e1099b1430676d9bcb197a3806"),
      row(
          "stale-extension", v2, kOk, kOk, kOk, kOk, [](auto& f) { put32(f, 56, 640); },
          "449e4e9b7c2b3b7e4c50acb8915b0143ea14e1e1099b1430676d9bcb197a3806"),
      row(
          "extension", v2, kOk, kOk, kOk, kOk, [](auto& f) { add_extension(f, 0); },
          "449e4e9b7c2b3b7e4c50acb8915b0143ea14e1e1099b1430676d9bcb197a3806"),
      row(
          "extension-damaged", v2, kOk, kOk, kFormat, kOk,
          [](auto& f) { add_extension(f, 0), put32(f, 5 * 32768 + 100, 1); },
          "449e4e9b7c2b3b7e4c50acb8915b0143ea14e1e1099b1430676d9bcb197a3806"),
      row("extension-shared", v2, kFormat, kFormat, kFormat, kOk,
          [](auto& f) { add_extension(f, 0), put_slot(f, 9, 4); }),
      row(
          "extension-necessary", v2, kOk, kFormat, kOk, kOk, [](auto& f) { add_extension(f, 1); },
          "449e4e9b7c2b3b7e4c50acb8915b0143ea14e1e1099b1430676d9bcb197a3806"),
      row(
          "extension-transit", v2, kOk, kFormat, kOk, kOk, [](auto& f) { add_extension(f, 2); },
          "449e4e9b7c2b3b7e4c50acb8915b0143ea14e1e1099b1430676d9bcb197a3806"),
  };
}

}  // namespace

const std::vector<GoldenImage>& golden_images() {
  static const std::vector<GoldenImage> images = [] {
    std::vector<GoldenImage> all = sound_images();
    for (GoldenImage& image : damaged_images())
      all.push_back(std::move(image));
    return all;
  }();
  return images;
}

const std::vector<GoldenStack>& golden_stacks() {
  static const std::vector<GoldenStack> stacks = {
      {{"stack-v1-base", "stack-v1-mid"}, "72044b8755a22c9222b428283aef05a342c6b2b5cf1dbea8f6ab989357bad4c5"},
      {{"stack-v1-base", "stack-v1-mid", "stack-v1-top"},
       "0216251365a7c247fa40c7dedf21f48263bc8520202702d14cc4afc1357d2963"},
      {{"raw-100000", "stack-over-raw"}, "397fb7719ae28d849a3dd1ba19d994caea9efe27bbeed7304e1db82bc2073238"},
  };
  return stacks;
}

}  // namespace ploop::golden
