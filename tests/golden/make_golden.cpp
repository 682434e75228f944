// Writes the golden images below the folder given, unpacked. Pack them with `xz -9e --check=crc32` and put
// them into tests/golden/images.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "golden_images.hpp"
#include "image/test_image.hpp"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  std::filesystem::create_directories(argv[1]);
  for (const auto& image : ploop::golden::golden_images()) {
    const auto file = image.make();
    const auto bytes = ploop::image::testing::bytes_of(*file);
    std::ofstream out(std::filesystem::path(argv[1]) / image.name, std::ios::binary);
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  return 0;
}
