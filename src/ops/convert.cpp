// Format conversion, and the choice between the two. A new file is built under a hidden name; then the
// descriptor is the switch:
//
//   descriptor names the hidden file -> old file removed, new one gets its name as well -> descriptor names
//   that -> hidden name removed
//
// At each arrow the disk is what the descriptor says, also for programs that know nothing of this.
#include "ops/convert.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include <optional>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "base/paths.hpp"
#include "descriptor/image_path.hpp"
#include "image/check.hpp"
#include "image/convert.hpp"
#include "image/merge.hpp"
#include "ops/cancel.hpp"
#include "ops/image_files.hpp"
#include "ops/running.hpp"

namespace ploop::ops {
namespace {

using descriptor::Mode;
using image::CreateFormat;
using image::Delta;
using image::Kind;

constexpr const char* kRebuild = "rebuild";
constexpr const char* kPreallocate = "preallocate";
constexpr const char* kImage = "image";  ///< parameter: name of the image

Mode mode_of(CreateFormat format) {
  switch (format) {
    case CreateFormat::Raw:
      return Mode::Raw;
    case CreateFormat::Preallocated:
      return Mode::Preallocated;
    case CreateFormat::Expanded:
      break;
  }
  return Mode::Expanded;
}

std::string hidden_name(const std::string& image) {
  return directory_of(image) + "/." + base_name(image) + ".ploop-convert";
}

bool same_file(const std::string& a, const std::string& b) {
  struct stat first {};
  struct stat second {};
  return ::lstat(a.c_str(), &first) == 0 && ::lstat(b.c_str(), &second) == 0 &&
         first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

bool there(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0;
}

Status remove_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno(ExitCode::Unlink, "remove " + path);
  return sync_parent_directory(path);
}

/// Stores the disk with this file as its image.
Status store_with(const std::string& descriptor, descriptor::Disk& disk, const std::string& file) {
  disk.images.front().file = file;
  TRY(stage_descriptor(disk, descriptor));
  return commit_descriptor(descriptor);
}

/// The descriptor names the hidden file: everything that follows.
Status finish_switch(const std::string& descriptor, descriptor::Disk& disk, const std::string& image) {
  const std::string hidden = hidden_name(image);
  if (there(hidden) && !same_file(hidden, image)) {
    TRY(remove_file(image));
    if (::link(hidden.c_str(), image.c_str()) != 0 && ::rename(hidden.c_str(), image.c_str()) != 0) {
      return fail_errno(ExitCode::Rename, "rename " + hidden + " to " + image);
    }
    TRY(sync_parent_directory(image));
  }
  TRY(store_with(descriptor, disk, image));
  return remove_file(hidden);
}

image::MergeOptions options_with(const ProgressCallback& progress) {
  image::MergeOptions options;
  options.nothing_below = true;
  options.cancelled = cancel_requested;
  options.progress = progress;
  return options;
}

Status build_raw(const Delta& source, const std::string& path, const ProgressCallback& progress) {
  {
    const auto file =
        TRY(io::PosixFile::open(path, {.writable = true, .direct = false, .exclusive_create = true}));
    TRY(image::resize_raw(*file, source.header().size_bytes(), kSectorSize));
  }
  Delta target =
      TRY(open_delta(path, Kind::Raw, {.writable = true, .raw_cluster_sectors = source.cluster_sectors()}));
  TRY(image::merge(std::span(&source, 1), target, options_with(progress)));
  return sync_parent_directory(path);
}

Status build_ploop1(const Delta& source, const std::string& path, bool full,
                    const ProgressCallback& progress) {
  image::CreateOptions create;
  create.size_sectors = source.size_sectors();
  create.cluster_sectors = source.cluster_sectors();
  TRY(image::create_image(path, create));
  {
    Delta target = TRY(open_delta(path, Kind::Ploop1, {.writable = true}));
    TRY(image::merge(std::span(&source, 1), target, options_with(progress)));
  }
  if (!full) return {};
  Delta target = TRY(open_delta(path, Kind::Ploop1, {.writable = true}));
  return image::preallocate_image(target, {.cancelled = cancel_requested, .progress = progress});
}

/// A new file in the other format takes the image's place.
Status rebuild(descriptor::Locked& locked, const std::string& path, Mode mode,
               const ProgressCallback& progress) {
  const bool from_raw = locked.disk.mode == Mode::Raw;
  const std::string hidden = hidden_name(path);
  Delta source = TRY(open_delta(path, from_raw ? Kind::Raw : Kind::Ploop1,
                                {.raw_cluster_sectors = locked.disk.cluster_sectors}));
  if (from_raw && source.file_bytes() % kSectorSize != 0) {
    return fail(ExitCode::Format, "Length of raw image " + path + " is not a multiple of a sector");
  }
  const Intent intent{.op = "convert",
                      .phase = kRebuild,
                      .creates = {TRY(intent_name(locked.path, hidden))},
                      .parameters = {{kImage, TRY(intent_name(locked.path, path))}}};
  const CleanupSection section;
  TRY(write_intent(locked.path, intent));
  Rollback rollback;
  rollback.add([&] {
    if (remove_file(hidden)) ignore(remove_intent(locked.path), "the next command does it");
  });
  TRY(remove_file(hidden));
  TRY(mode == Mode::Raw ? build_raw(source, hidden, progress)
                        : build_ploop1(source, hidden, mode == Mode::Preallocated, progress));
  TRY(stop_if_cancelled());
  locked.disk.mode = mode;
  locked.disk.size_sectors = round_up(source.size_sectors(), source.cluster_sectors());
  Status switched = store_with(locked.path, locked.disk, hidden);
  // From here on the next command can only finish it.
  rollback.commit();
  TRY(std::move(switched));
  TRY(finish_switch(locked.path, locked.disk, path));
  return remove_intent(locked.path);
}

/// After a failure: what was reserved would keep a full host full.
Status undo_full(const std::string& descriptor, const std::string& path) {
  const image::CheckReport report = TRY(image::check_file(path, {.drop_in_use = true, .silent = true}));
  return report.exit == ExitCode::Ok ? remove_intent(descriptor) : Status{};
}

Status make_full(descriptor::Locked& locked, const std::string& path, const ProgressCallback& progress) {
  auto delta = std::make_optional(TRY(open_delta(path, Kind::Ploop1, {.writable = true})));
  const CleanupSection section;
  const std::string name = TRY(intent_name(locked.path, path));
  TRY(write_intent(locked.path, {.op = "convert", .phase = kPreallocate, .parameters = {{kImage, name}}}));
  Rollback rollback;
  rollback.add([&] { ignore(undo_full(locked.path, path), "the next command does it"); });
  rollback.add([&] { ignore(unstage_descriptor(locked.path), "the first error is the one to report"); });
  Status filled = image::preallocate_image(*delta, {.cancelled = cancel_requested, .progress = progress});
  delta.reset();
  TRY(std::move(filled));
  locked.disk.mode = Mode::Preallocated;
  TRY(stage_descriptor(locked.disk, locked.path));
  TRY(commit_descriptor(locked.path, rollback));
  return remove_intent(locked.path);
}

}  // namespace

Status convert_format(descriptor::Locked& locked, CreateFormat format, const ProgressCallback& progress) {
  const Mode mode = mode_of(format);
  descriptor::Disk& disk = locked.disk;
  if (disk.images.size() > 1) {
    return fail(ExitCode::Param,
                "The format of a disk that has snapshots can't be changed: merge them first ('ploop "
                "snapshot-merge -A'), or delete them");
  }
  const auto devices = TRY(if_visible(devices_of(disk, locked.path)));
  const std::string path = TRY(descriptor::image_path(disk.directory, disk.images.front().file));
  if (!devices.empty())
    return fail(ExitCode::Open, "Image is in use " + path + " by device " + device_names(devices));
  if (disk.mode == mode) return {};
  if (disk.mode == Mode::Raw || mode == Mode::Raw) return rebuild(locked, path, mode, progress);
  if (mode == Mode::Preallocated) return make_full(locked, path, progress);
  // Refuses what is in use, as the others do.
  TRY(open_delta(path, Kind::Ploop1, {}));
  disk.mode = mode;
  return descriptor::store(disk, locked.path);
}

Result<Outcome> finish_convert_format(Interrupted& work) {
  const auto image = work.intent.parameters.find(kImage);
  if (image == work.intent.parameters.end() || work.disk.images.size() != 1) {
    return fail(ExitCode::Busy, "the note does not fit the disk");
  }
  const std::string path = intent_file(work.path, image->second);
  const std::string& named = work.disk.images.front().file;
  if (named != path && named != hidden_name(path))
    return fail(ExitCode::Busy, "the note names another image");
  if (work.intent.phase == kPreallocate) {
    TRY(image::check_file(path, {.drop_in_use = true, .silent = true}));
    return work.disk.mode == Mode::Preallocated ? Outcome::Finished : Outcome::Undone;
  }
  if (named == path) {
    const bool finished = same_file(path, hidden_name(path));
    TRY(remove_file(hidden_name(path)));
    return finished ? Outcome::Finished : Outcome::Undone;
  }
  TRY(finish_switch(work.path, work.disk, path));
  return Outcome::Finished;
}

Status convert(const ConvertRequest& request) {
  OpenedDisk locked = TRY(open_disk(request.descriptor));
  TRY(request.version ? convert_version(locked, *request.version)
                      : convert_format(locked, *request.format, request.progress));
  log(LogLevel::Progress, "ploop image has been successfully converted");
  return {};
}

Result<Outcome> finish_convert(Interrupted& work) {
  return work.intent.phase.starts_with("version") ? finish_convert_version(work)
                                                  : finish_convert_format(work);
}

}  // namespace ploop::ops
