// The golden images: what each is, how it is made, and what must come of it. The stored files are never made
// anew when the code changes; the test proves that the code still makes and reads the same bytes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/exit_code.hpp"
#include "image/delta.hpp"
#include "io/memory_file.hpp"

namespace ploop::golden {

struct GoldenImage {
  std::string name;
  std::function<std::unique_ptr<io::MemoryFile>()> make;
  image::Kind kind = image::Kind::Ploop1;
  ExitCode opens = ExitCode::Ok;   ///< Delta::open() for reading
  ExitCode writes = ExitCode::Ok;  ///< and for writing
  ExitCode check = ExitCode::Ok;   ///< check -f -c -r
  ExitCode repair = ExitCode::Ok;  ///< check -F -c -d
  /// SHA-256 of the guest's bytes, found with an independent program; empty when the image doesn't open.
  std::string guest;
};

const std::vector<GoldenImage>& golden_images();

/// Names of golden images that form stacks, base first, and the hash of what they read as.
struct GoldenStack {
  std::vector<std::string> names;
  std::string guest;
};
const std::vector<GoldenStack>& golden_stacks();

}  // namespace ploop::golden
