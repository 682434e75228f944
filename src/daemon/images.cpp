#include "daemon/images.hpp"

#include <sys/stat.h>

#include <chrono>
#include <memory>
#include <thread>
#include <utility>

#include "base/paths.hpp"
#include "control/registry.hpp"
#include "io/posix_file.hpp"

namespace ploop::daemon {
namespace {

/// How long the last operations of a dead worker may take.
constexpr auto kLastIoTimeout = std::chrono::seconds(60);
constexpr auto kRetryPause = std::chrono::milliseconds(5);

/// One file under two names (hard links, bind mounts) is one image.
bool same_file(const std::string& a, const std::string& b) {
  struct stat first {};
  struct stat second {};
  return a == b || (::stat(a.c_str(), &first) == 0 && ::stat(b.c_str(), &second) == 0 && first.st_dev == second.st_dev &&
                    first.st_ino == second.st_ino);
}

Error busy_image(const std::string& path) {
  if (const auto devices = control::list_devices()) {
    for (const control::DeviceState& device : *devices) {
      for (const control::DeltaSpec& delta : device.deltas) {
        if (same_file(delta.path, path)) {
          return Error{ExitCode::Mount, 0, "Image " + path + " already used by device " + device_path(device.number)};
        }
      }
    }
  }
  return Error{ExitCode::Mount, 0, "Image " + path + " is in use by another process"};
}

}  // namespace

Result<image::Delta> open_image(const control::DeltaSpec& delta, std::uint32_t raw_cluster_sectors) {
  io::PosixOpenOptions options;
  options.writable = !delta.read_only;
  options.direct = true;
  std::unique_ptr<io::PosixFile> file = TRY(io::PosixFile::open(delta.path, options));
  const io::LockKind lock = delta.read_only ? io::LockKind::Shared : io::LockKind::Exclusive;
  if (!TRY(file->try_lock(lock))) return fail(busy_image(delta.path));
  image::OpenOptions understand;
  understand.writable = !delta.read_only;
  // What a crash left is sound without repair: the command decides whether the mark matters.
  understand.allow_in_use = true;
  understand.raw_cluster_sectors = raw_cluster_sectors;
  const image::Kind kind = delta.kind == control::ImageKind::Raw ? image::Kind::Raw : image::Kind::Ploop1;
  return image::Delta::open(std::move(file), kind, understand);
}

Result<std::vector<image::Delta>> open_images(const control::AttachSpec& spec) {
  std::vector<image::Delta> deltas;
  deltas.reserve(spec.deltas.size());
  for (const control::DeltaSpec& delta : spec.deltas) {
    deltas.push_back(TRY(open_image(delta, spec.raw_cluster_sectors)));
  }
  return deltas;
}

Result<std::vector<image::Delta>> open_images_when_quiet(const control::AttachSpec& spec) {
  const auto deadline = std::chrono::steady_clock::now() + kLastIoTimeout;
  for (;;) {
    auto deltas = open_images(spec);
    if (deltas || deltas.error().code != ExitCode::Mount || std::chrono::steady_clock::now() >= deadline) return deltas;
    std::this_thread::sleep_for(kRetryPause);
  }
}

}  // namespace ploop::daemon
