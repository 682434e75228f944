// Version conversion. The new header and table of every image lie complete in IMAGE.idx before the first
// image is touched; from then on the note says "apply", and copying them over is all there is to do, as often
// as it takes. The original keeps the old tables in files of that name and copies them back: the same step.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string_view>
#include <utility>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "base/paths.hpp"
#include "descriptor/image_path.hpp"
#include "image/convert.hpp"
#include "image/table_io.hpp"
#include "ops/cancel.hpp"
#include "ops/convert.hpp"
#include "ops/image_files.hpp"
#include "ops/prepare.hpp"
#include "ops/running.hpp"

namespace ploop::ops {
namespace {

using image::Delta;
using image::Kind;

constexpr const char* kPrepare = "version";
constexpr const char* kApply = "version-apply";
/// Most bytes of a head: the table of the largest image there may be.
constexpr std::size_t kMaxHead = std::size_t{4} << 30;

std::string side_file(const std::string& image) {
  return image + ".idx";
}

/// The ploop1 images of the disk, checked paths, the base last.
Result<std::vector<std::string>> ploop1_images(const descriptor::Disk& disk) {
  const std::string base = base_path(disk);
  std::vector<std::string> paths, last;
  for (const descriptor::Image& image : disk.images) {
    const bool is_base = image.file == base;
    if (is_base && disk.base_is_raw()) continue;
    (is_base ? last : paths).push_back(TRY(descriptor::image_path(disk.directory, image.file)));
  }
  paths.insert(paths.end(), last.begin(), last.end());
  return paths;
}

struct Conversion {
  std::string path;
  std::vector<std::byte> head;
};

Result<std::vector<Conversion>> plan(const std::vector<std::string>& paths, format::Version version) {
  std::vector<Conversion> conversions;
  for (const std::string& path : paths) {
    const Delta delta = TRY(open_delta(path, Kind::Ploop1, {.writable = true}));
    if (delta.header().version == version) continue;
    conversions.push_back({path, TRY(image::converted_head(delta, version))});
  }
  return conversions;
}

Status remove_side_file(const std::string& image) {
  const std::string path = side_file(image);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno(ExitCode::Unlink, "remove " + path);
  return {};
}

Status remove_side_files(const std::vector<std::string>& images) {
  for (const std::string& image : images)
    TRY(remove_side_file(image));
  return images.empty() ? Status{} : sync_parent_directory(images.front());
}

Result<std::vector<std::byte>> read_side_file(const std::string& path) {
  const Fd fd = TRY(open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  const std::string text = TRY(read_all(fd.get(), kMaxHead, path));
  const auto bytes = std::as_bytes(std::span(text));
  return std::vector<std::byte>(bytes.begin(), bytes.end());
}

/// An image whose side file is the right one, or which needs none: then there is no head.
struct Ready {
  std::unique_ptr<io::BlockFile> file;  ///< with its lock
  std::vector<std::byte> head = {};
};

/// An image that has the mark holds what is left of its table in the side file. Without the mark its own
/// table is right: it may have been used since the side file was written, by somebody who knows nothing of
/// the note. Then the side file is made anew.
Result<Ready> make_ready(const std::string& path) {
  Ready ready{TRY(open_image_file(path, true))};
  format::Header header = TRY(image::read_header(*ready.file));
  const bool marked = (header.flags & format::kFlagConverting) != 0;
  if (!marked && header.is_in_use()) {  // who used it has not closed it
    ready.file.reset();
    TRY(repair_chain({{path}}, true));
    ready.file = TRY(open_image_file(path, true));
    header = TRY(image::read_header(*ready.file));
  }
  if (::access(side_file(path).c_str(), F_OK) != 0) {
    if (!marked) return ready;
    return fail(ExitCode::Busy, "Image " + path + " is in the changing version state, and " +
                                    side_file(path) + " is missing");
  }
  std::vector<std::byte> head = TRY(read_side_file(side_file(path)));
  if (!marked) {
    const format::Version version = TRY(format::decode_header(head)).version;
    if (header.version == version) return ready;
    Delta delta = TRY(Delta::open(std::move(ready.file), Kind::Ploop1, {.writable = true}));
    std::vector<std::byte> now = TRY(image::converted_head(delta, version));
    if (now != head) {
      const std::string_view text(reinterpret_cast<const char*>(now.data()), now.size());
      TRY(write_file_atomic(side_file(path), text, 0600));
      head = std::move(now);
    }
    ready.file = delta.release_file();
  }
  ready.head = std::move(head);
  return ready;
}

/// Copies the side file over the head of the image.
Status apply_side_file(const std::string& path) {
  const Ready ready = TRY(make_ready(path));
  return ready.head.empty() ? Status{} : image::apply_head(*ready.file, ready.head);
}

Status apply_all(const std::vector<std::string>& paths, int version) {
  // Whoever knows nothing of our note looks at the base first, which is the last to be finished.
  if (!paths.empty()) {
    const Ready base = TRY(make_ready(paths.back()));
    if (!base.head.empty()) TRY(image::mark_converting(*base.file));
  }
  for (const std::string& path : paths) {
    if (version != 0) log(LogLevel::Progress, "Converting {} to version {}", path, version);
    TRY(apply_side_file(path));
  }
  return {};
}

/// Nobody looks at it before the note says that all are complete, so that it needs no temporary name.
Status write_side_file(const Conversion& conversion) {
  TRY(remove_side_file(conversion.path));
  const std::string path = side_file(conversion.path);
  const Fd fd = TRY(open_file(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, ExitCode::Create));
  TRY(write_all(fd.get(), conversion.head, path));
  if (::fsync(fd.get()) != 0) return fail_errno(ExitCode::Fsync, "fsync " + path);
  return {};
}

Status write_side_files(const std::vector<Conversion>& conversions) {
  for (const Conversion& c : conversions) {
    log(LogLevel::Progress, "Backing up index table {}", side_file(c.path));
    TRY(write_side_file(c));
    TRY(stop_if_cancelled());
  }
  return conversions.empty() ? Status{} : sync_parent_directory(conversions.front().path);
}

}  // namespace

Status convert_version(descriptor::Locked& locked, format::Version version) {
  const auto devices = TRY(if_visible(devices_of(locked.disk, locked.path)));
  if (!devices.empty()) {
    return fail(ExitCode::Param, "Image is mounted: changing image version online is not supported (" +
                                     device_names(devices) + "); umount it first");
  }
  const std::vector<std::string> paths = TRY(ploop1_images(locked.disk));
  if (paths.empty()) return fail(ExitCode::Param, "A raw image has no version");
  const std::vector<Conversion> conversions = TRY(plan(paths, version));
  if (conversions.empty()) return {};

  std::vector<std::string> changed;
  for (const Conversion& c : conversions)
    changed.push_back(c.path);
  const CleanupSection section;
  Intent intent{.op = "convert", .phase = kPrepare};
  TRY(write_intent(locked.path, intent));
  Rollback rollback;
  rollback.add([&] {
    if (remove_side_files(changed)) ignore(remove_intent(locked.path), "the next command does it");
  });
  TRY(write_side_files(conversions));
  intent.phase = kApply;
  TRY(write_intent(locked.path, intent));
  rollback.commit();
  if (Status applied = apply_all(changed, static_cast<int>(version)); !applied)
    return to_be_continued(std::move(applied).error(), "the conversion");
  TRY(remove_side_files(changed));
  return remove_intent(locked.path);
}

Result<Outcome> finish_convert_version(Interrupted& work) {
  const std::vector<std::string> paths = TRY(ploop1_images(work.disk));
  const bool apply = work.intent.phase == kApply;
  if (apply) TRY(apply_all(paths, 0));
  TRY(remove_side_files(paths));
  return apply ? Outcome::Finished : Outcome::Undone;
}

Status restore_versions(const descriptor::Disk& disk) {
  const std::vector<std::string> paths = TRY(ploop1_images(disk));
  const auto is_converting = [](const std::string& path) {
    const auto file = io::PosixFile::open(path, {});
    if (!file) return false;
    const auto header = image::read_header(**file);
    return header && (header->flags & format::kFlagConverting) != 0;
  };
  if (std::ranges::none_of(paths, is_converting)) return {};
  log(LogLevel::Progress, "Image remains in converting fmt version state, restoring...");
  TRY(apply_all(paths, 0));
  return remove_side_files(paths);
}

}  // namespace ploop::ops
