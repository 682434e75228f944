#include "ops/image_files.hpp"

#include <cerrno>

#include "descriptor/image_path.hpp"
#include "ops/running.hpp"

namespace ploop::ops {
namespace {

using image::Delta;
using image::Kind;

tl::unexpected<Error> in_use(const std::string& path, std::string_view why) {
  return fail(ExitCode::Open, "Image is in use " + path + std::string(why));
}

}  // namespace

Result<std::unique_ptr<io::PosixFile>> open_image_file(const std::string& path, bool writable) {
  auto file =
      TRY(io::PosixFile::open(path, {.writable = writable, .direct = false, .exclusive_create = false}));
  const io::LockKind kind = writable ? io::LockKind::Exclusive : io::LockKind::Shared;
  if (TRY(file->try_lock(kind))) return file;
  const auto devices = devices_using(path);
  if (devices && !devices->empty()) return in_use(path, " by device " + device_names(*devices));
  if (!TRY(file->lock_soon(kind))) return in_use(path, " by a device or another command");
  return file;
}

Result<std::unique_ptr<io::PosixFile>> claim_image(const descriptor::Disk& disk, const std::string& file) {
  if (!file_id(file) && errno == ENOENT) return nullptr;
  return open_image_file(TRY(descriptor::image_path(disk.directory, file)), true);
}

Result<Delta> open_delta(const std::string& path, Kind kind, const image::OpenOptions& options) {
  auto delta = Delta::open(TRY(open_image_file(path, options.writable)), kind, options);
  if (delta) return delta;
  if (delta.error().code == ExitCode::InUse) {
    return in_use(path, ": it was not closed properly, 'ploop check -d' or a mount puts that right");
  }
  return delta;
}

}  // namespace ploop::ops
