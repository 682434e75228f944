#include "ops/merge.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "base/paths.hpp"
#include "image/create.hpp"
#include "image/merge.hpp"
#include "ops/cancel.hpp"
#include "ops/image_files.hpp"
#include "ops/prepare.hpp"

namespace ploop::ops {
namespace {

using image::Delta;
using image::Kind;

/// Cluster size that a raw image gets: that of the ploop1 images above it.
std::uint32_t cluster_of(const std::vector<Delta>& sources) {
  return sources.empty() ? format::kDefaultClusterSectors : sources.front().cluster_sectors();
}

Result<std::vector<Delta>> open_sources(const MergeFiles& request) {
  std::vector<Delta> sources;
  for (const std::string& path : request.sources)
    sources.push_back(TRY(open_delta(path, Kind::Ploop1, {})));
  if (request.new_image.empty()) return sources;
  sources.push_back(TRY(open_delta(request.destination, request.raw ? Kind::Raw : Kind::Ploop1,
                                   {.raw_cluster_sectors = cluster_of(sources)})));
  return sources;
}

Status refuse_same_file(const MergeFiles& request) {
  std::vector<struct stat> seen;
  std::vector<std::string> paths = request.sources;
  paths.push_back(request.destination);
  for (const std::string& path : paths) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) return fail_errno(ExitCode::Open, "Can't open " + path);
    const bool twice = std::ranges::any_of(
        seen, [&](const struct stat& s) { return s.st_dev == info.st_dev && s.st_ino == info.st_ino; });
    if (twice) return fail(ExitCode::Param, path + " is named twice");
    seen.push_back(info);
  }
  return {};
}

image::MergeOptions options_of(const MergeFiles& request) {
  image::MergeOptions options;
  options.nothing_below = request.nothing_below;
  options.cancelled = cancel_requested;
  options.progress = request.progress;
  return options;
}

/// Calls `work` while the lock on the file lets others read.
Status while_shared(const Delta& delta, const std::function<Status()>& work) {
  auto& file = dynamic_cast<io::PosixFile&>(delta.file());
  TRY(file.try_lock(io::LockKind::Shared));
  TRY(work());
  if (TRY(file.try_lock(io::LockKind::Exclusive))) return {};
  return fail(ExitCode::Open, "Image is in use " + file.name() + " by somebody else by now");
}

Result<image::CopyTotals> merge_in_place(const MergeFiles& request, const std::vector<Delta>& sources) {
  image::OpenOptions open{
      .allow_in_use = request.resume, .writable = true, .raw_cluster_sectors = cluster_of(sources)};
  Delta destination = TRY(open_delta(request.destination, request.raw ? Kind::Raw : Kind::Ploop1, open));
  image::MergeOptions options = options_of(request);
  if (request.moved) options.moved = [&] { return while_shared(destination, request.moved); };
  return image::merge(sources, destination, options);
}

/// A killed merge left it; nobody else has it when the lock is free.
Status drop_leftover(const std::string& path) {
  if (::access(path.c_str(), F_OK) != 0) return {};
  TRY(open_image_file(path, true));
  if (::unlink(path.c_str()) != 0) return fail_errno(ExitCode::Unlink, "remove " + path);
  return {};
}

Status publish(const std::string& from, const std::string& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) != 0) {
    return fail_errno(errno == EEXIST ? ExitCode::Param : ExitCode::Rename, "Can't merge to new image " + to);
  }
  const Status synced = sync_parent_directory(to);
  if (!synced) ::unlink(to.c_str());
  return synced;
}

Result<image::CopyTotals> merge_to_new(const MergeFiles& request, const std::vector<Delta>& sources) {
  const std::string target = TRY(canonical_new_path(request.new_image, ExitCode::Create));
  struct stat info {};
  if (::lstat(target.c_str(), &info) == 0) {
    return fail(errno_error(ExitCode::Param, EEXIST, "Can't merge to new image " + request.new_image));
  }
  const std::string work = merge_work_file(target);
  TRY(drop_leftover(work));
  image::CreateOptions create;
  create.version = sources.front().header().version;
  create.size_sectors = sources.front().size_sectors();
  create.cluster_sectors = sources.front().cluster_sectors();
  TRY(image::create_image(work, create));
  Rollback rollback;
  rollback.add([&work] { ::unlink(work.c_str()); });
  Delta destination = TRY(open_delta(work, Kind::Ploop1, {.writable = true}));
  image::MergeOptions options = options_of(request);
  options.nothing_below = true;
  image::CopyTotals totals = TRY(image::merge(sources, destination, options));
  if (request.complete) TRY(request.complete());
  TRY(publish(work, target));
  rollback.commit();
  return totals;
}

/// What a merge into the destination leaves as long as it is not finished: the files that go into it, one per
/// line. With it the same merge goes on although the destination is marked as in use.
class Note {
 public:
  static Result<Note> of(const MergeFiles& files) {
    Note note;
    const std::string destination = TRY(canonical_path(files.destination, ExitCode::Open));
    note.path_ = directory_of(destination) + "/." + base_name(destination) + ".ploop-merge-note";
    for (const std::string& source : files.sources)
      note.text_ += TRY(canonical_path(source, ExitCode::Open)) + "\n";
    const auto there = read_file(note.path_, kMaxNote);
    note.known_ = there && *there == note.text_;
    return note;
  }
  /// The same merge was begun before.
  [[nodiscard]] bool known() const { return known_; }
  Status write() const { return known_ ? Status{} : write_file_atomic(path_, text_, 0600); }
  void remove() const { ::unlink(path_.c_str()); }

 private:
  static constexpr std::size_t kMaxNote = 1u << 20;
  std::string path_;
  std::string text_;
  bool known_ = false;
};

Status forget_totals(const Result<image::CopyTotals>& merged) {
  return merged ? Status{} : fail(Error(merged.error()));
}

/// Goes on with an interrupted merge of the same files.
Status merge_with_note(MergeFiles files) {
  const Note note = TRY(Note::of(files));
  files.resume = note.known();
  // Of another merge that was interrupted: its note must stay.
  const auto header = read_header(files.destination);
  if (!note.known() && header && header->is_in_use()) return forget_totals(merge_files(files));
  const CleanupSection section;
  TRY(note.write());
  const auto merged = merge_files(files);
  const bool untouched =
      !merged && (merged.error().code == ExitCode::Open || merged.error().code == ExitCode::Format ||
                  merged.error().code == ExitCode::Param);
  if (merged || (untouched && !note.known())) note.remove();
  return forget_totals(merged);
}

/// "a b -> c".
std::string describe(const MergeRequest& request) {
  std::string text;
  const bool to_new = !request.new_image.empty();
  for (std::size_t i = 0; i + (to_new ? 0 : 1) < request.operands.size(); ++i) {
    text += (text.empty() ? "" : " ") + request.operands[i];
  }
  return text + " -> " + (to_new ? "(new) " + request.new_image : request.operands.back());
}

}  // namespace

std::string merge_work_file(const std::string& new_image) {
  return directory_of(new_image) + "/." + base_name(new_image) + ".ploop-merge";
}

Result<image::CopyTotals> merge_files(const MergeFiles& request) {
  TRY(refuse_same_file(request));
  const std::vector<Delta> sources = TRY(open_sources(request));
  const CleanupSection section;
  return request.new_image.empty() ? merge_in_place(request, sources) : merge_to_new(request, sources);
}

Status merge(const MergeRequest& request) {
  if (request.operands.size() < 2)
    return fail(ExitCode::Param, "At least two images are needed, the lowest last");
  MergeFiles files;
  files.sources.assign(request.operands.begin(), request.operands.end() - 1);
  files.destination = request.operands.back();
  files.raw = request.raw;
  files.new_image = request.new_image;
  files.progress = request.progress;
  log(LogLevel::Progress, "Merging image{}: {}",
      files.sources.size() + (files.new_image.empty() ? 0 : 1) > 1 ? "s" : "", describe(request));
  // A raw destination carries no mark: merging again needs no note.
  if (files.new_image.empty() && !files.raw) return merge_with_note(std::move(files));
  return forget_totals(merge_files(files));
}

}  // namespace ploop::ops
