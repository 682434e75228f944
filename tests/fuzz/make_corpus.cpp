// Writes the seeds of header, table and image_check below the folder given. Each is one situation: versions,
// sizes, damage.
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "format/extension.hpp"
#include "image/test_image.hpp"
#include "image_input.hpp"

namespace ploop {
namespace {

using namespace image::testing;
using format::Version;

void store(const std::filesystem::path& path, const std::vector<std::uint8_t>& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

/// Bitmap in file cluster 4, extension in 5.
void add_extension(io::MemoryFile& file) {
  format::Header header = *format::make_header(510 * 64, 64, Version::V2);
  header.flags = 0;
  header.in_use = format::kClosedWithExtension;
  header.extension_sectors = 5 * 64;
  put_header(file, header);
  format::DirtyBitmap bitmap;
  bitmap.size_sectors = header.size_sectors;
  bitmap.granularity_sectors = 64;
  bitmap.l1 = {4 * 64};
  put32(file, 4 * 32768, 0x40001c60);
  file.write(*format::encode_extension(bitmap, header.cluster_bytes()), 5 * 32768);
}

struct Seed {
  const char* name;
  Version version;
  std::function<void(io::MemoryFile&)> change;
};

const Seed kSeeds[] = {
    {"sound-v1", Version::V1, [](auto&) {}},
    {"sound-v2", Version::V2, [](auto&) {}},
    {"dirty-tail", Version::V2,
     [](auto& f) { put32(f, 44, format::kInUseMark), put32(f, 52, 1), f.truncate(7 * 32768); }},
    {"double", Version::V2, [](auto& f) { put_slot(f, 9, 2), put_slot(f, 11, 2); }},
    {"in-header", Version::V1, [](auto& f) { put32(f, 48, 128); }},
    {"beyond-eof", Version::V2, [](auto& f) { put_slot(f, 9, 0x1000); }},
    {"reserved", Version::V2, [](auto& f) { put_slot(f, 9, 0xFFFFFFFF); }},
    {"misaligned", Version::V1, [](auto& f) { put_slot(f, 9, 65); }},
    {"behind-device", Version::V2, [](auto& f) { put_slot(f, 600, 2); }},
    {"partial-tail", Version::V2, [](auto& f) { f.truncate(4 * 32768 - 512 + 77); }},
    {"converting", Version::V2, [](auto& f) { put32(f, 52, 2); }},
    {"stale-extension", Version::V2, [](auto& f) { put32(f, 56, 640); }},
    {"extension", Version::V2, [](auto& f) { add_extension(f); }},
    {"extension-shared", Version::V2, [](auto& f) { add_extension(f), put_slot(f, 9, 5); }},
    {"holes", Version::V2, [](auto& f) { put_slot(f, 3, 0), put_slot(f, 1, 0); }},
    {"unaligned-size", Version::V2, [](auto& f) { put32(f, 36, 510 * 64 - 7); }},
};

void write_seeds(const std::filesystem::path& folder) {
  for (const Seed& seed : kSeeds) {
    const auto file = make_image({.version = seed.version}, {{3, 1}, {1, 2}, {2, 3}});
    seed.change(*file);
    const std::uint32_t second = get32(*file, 44) == format::kClosedWithExtension ? 5 * 64 : 0;
    for (const char* target : {"table", "image_check"}) {
      for (const std::uint8_t options : {std::uint8_t{0x80}, std::uint8_t{0x83}}) {
        store(folder / target / (seed.name + std::string(options == 0x80 ? "-a" : "-b")),
              fuzz::encode_input(*file, second, options));
      }
    }
    store(folder / "table" / (seed.name + std::string("-raw")), fuzz::encode_input(*file, 0, 4));
    std::vector<std::uint8_t> bytes(format::kHeaderSize + 128);
    const auto stretch = std::as_writable_bytes(std::span(bytes));
    file->read(stretch.first(format::kHeaderSize), 0);
    file->read(stretch.subspan(format::kHeaderSize), std::uint64_t{second} * kSectorSize);
    store(folder / "header" / seed.name, bytes);
  }
}

/// One or two images and a script for the engine target; its form is described there.
void write_engine_seed(const std::filesystem::path& path, std::uint8_t flags,
                       const std::vector<std::uint8_t>& script, const Slots& lower, const Slots& upper,
                       Version version) {
  const auto base = make_image({.clusters = 20, .version = version}, lower);
  const auto top = make_image({.clusters = 20, .version = version, .tag = 0x42}, upper);
  const bool two = (flags & 1) != 0;
  const std::vector<std::uint8_t> first = fuzz::encode_input(*base, two ? 64 : 0, 0);
  const auto low = static_cast<std::uint8_t>(first.size() & 0xFF);
  const auto high = static_cast<std::uint8_t>(first.size() >> 8);
  std::vector<std::uint8_t> input{flags, 1, static_cast<std::uint8_t>(script.size() / 4), low, high};
  input.insert(input.end(), script.begin(), script.end());
  input.insert(input.end(), first.begin(), first.end());
  if (two) {
    const std::vector<std::uint8_t> second = fuzz::encode_input(*top, 0, 0);
    input.insert(input.end(), second.begin(), second.end());
  }
  store(path, input);
}

void write_engine_seeds(const std::filesystem::path& folder) {
  // Kinds: 0 read, 1 write, 2 flush, 3 zero; 0x10 durable, 0x20 unmap, 0x40 place is in clusters (* 8), 0x80
  // whole clusters.
  const std::vector<std::uint8_t> script = {0x41, 8, 0,    7,  0x41, 19,  0,    255, 2, 0,  0,    0,  0xE3, 8,
                                            0,    0, 0x00, 0,  1,    200, 0x51, 24,  0, 63, 0x23, 70, 0,    9,
                                            0x41, 8, 0,    63, 0xE3, 16,  0,    1,   2, 0,  0,    0};
  const Slots lower = {{0, 1}, {1, 3}, {3, 2}, {19, 4}};
  const Slots upper = {{1, 1}, {4, 2}};
  for (const Version version : {Version::V1, Version::V2}) {
    const std::string name = version == Version::V1 ? "v1-" : "v2-";
    write_engine_seed(folder / (name + "single"), 0, script, lower, upper, version);
    write_engine_seed(folder / (name + "single-at-once"), 8, script, lower, upper, version);
    write_engine_seed(folder / (name + "chain"), 1, script, lower, upper, version);
    write_engine_seed(folder / (name + "chain-reflink"), 1 + 4, script, lower, upper, version);
    write_engine_seed(folder / (name + "chain-no-punch"), 1 + 0x10, script, lower, {}, version);
  }
  write_engine_seed(folder / "raw", 2, script, lower, upper, Version::V2);
  write_engine_seed(folder / "raw-base", 1 + 2, script, lower, upper, Version::V2);
}

}  // namespace
}  // namespace ploop

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  ploop::write_seeds(argv[1]);
  ploop::write_engine_seeds(std::filesystem::path(argv[1]) / "engine");
  return 0;
}
