#include "ops/recover.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "base/paths.hpp"
#include "base/random.hpp"
#include "descriptor/open_beneath.hpp"
#include "ops/convert.hpp"
#include "ops/grow.hpp"
#include "ops/init.hpp"
#include "ops/resize.hpp"
#include "ops/snapshot_merge.hpp"

namespace ploop::ops {
namespace {

struct Handled {
  std::string_view op;
  RecoverHandler handler;
};
constexpr std::array kHandlers = {
    Handled{"convert", finish_convert},       Handled{"grow", finish_grow},
    Handled{"resize", finish_resize},         Handled{"snapshot", settle_files},
    Handled{"snapshot-switch", settle_files}, Handled{"snapshot-delete", settle_files},
    Handled{"snapshot-merge", finish_merge},
};

/// Length of the word behind the name of a staged descriptor that a device was told of.
constexpr std::size_t kOwnName = 16;

bool is_own_name(const std::string& file, const std::string& prefix) {
  if (!file.starts_with(prefix) || file.size() != prefix.size() + kOwnName) return false;
  return std::ranges::all_of(file.substr(prefix.size()),
                             [](unsigned char c) { return std::isalnum(c) != 0; });
}

std::string describe(const Intent& intent) {
  return intent.op + (intent.uuid.empty() ? "" : " of " + intent.uuid);
}

Result<Outcome> recover(const std::string& path, const Intent& intent) {
  const auto handled = std::ranges::find_if(kHandlers, [&](const Handled& h) { return h.op == intent.op; });
  if (handled == kHandlers.end()) {
    return fail(ExitCode::Busy,
                "An interrupted '" + intent.op + "' is noted in " + intent_path(path) +
                    ", which this program does not know: finish it with the one that began it");
  }
  // The order matters: once the staged descriptor is away, the real one can't change behind our back.
  TRY(unstage_descriptor(path));
  descriptor::Disk disk = TRY(descriptor::load(path));
  Interrupted work{path, disk, intent};
  const Outcome outcome =
      TRY_CONTEXT("The interrupted " + describe(intent) + " can't be completed", handled->handler(work));
  TRY(remove_intent(path));
  log(LogLevel::Progress, "The interrupted {} was {}", describe(intent),
      outcome == Outcome::Finished ? "finished" : "undone");
  return outcome;
}

/// What can't be completed now need not be for this purpose. On a host that is read-only, a snapshot of a
/// volume say, the descriptor is right as it stands, but for a resize that has begun to write to the image.
bool may_stay(Recovery recovery, const std::optional<Intent>& intent, const Error& error) {
  if (recovery == Recovery::BestEffort) return true;
  if (recovery != Recovery::TopSuffices) return false;
  if (intent && intent->parameters.contains(kHalfDone)) return true;
  return error.sys_errno == EROFS && (!intent || !resize_has_begun(*intent));
}

/// Completes what was interrupted, if anything was.
Status recover_into(OpenedDisk& disk, Recovery recovery) {
  auto intent = read_intent(disk.path);
  if (intent && !*intent) {
    // Without a note, too: a device may still be at work for a command that was killed, on a descriptor that
    // is not the next one's.
    const Status unstaged = unstage_descriptor(disk.path);
    return unstaged || may_stay(recovery, std::nullopt, unstaged.error()) ? Status{} : unstaged;
  }
  auto outcome = intent ? recover(disk.path, **intent) : fail(Error(intent.error()));
  if (outcome) {
    disk.recovered = std::move(*intent);
    disk.outcome = *outcome;
    return {};
  }
  if (!may_stay(recovery, intent ? *intent : std::nullopt, outcome.error()))
    return fail(std::move(outcome).error());
  log_error("{}", outcome.error().message());
  return {};
}

}  // namespace

bool OpenedDisk::just_finished(std::string_view op, std::string_view request) const {
  if (!recovered || outcome != Outcome::Finished || recovered->op != op) return false;
  const auto asked = recovered->parameters.find(kRequest);
  return asked != recovered->parameters.end() && asked->second == request;
}

Result<OpenedDisk> open_disk(const std::string& path, const OpenDiskOptions& options) {
  OpenedDisk opened;
  opened.path = TRY(descriptor::resolve(path));
  opened.lock = TRY(descriptor::DescriptorLock::acquire(opened.path, options.lock));
  TRY(recover_into(opened, options.recovery));
  opened.disk = TRY(descriptor::load(opened.path));
  const std::string& image = opened.disk.first_image().file;
  if (directory_of(image) == opened.disk.directory) drop_working_name(image);
  return opened;
}

Status refuse_half_done(const std::string& descriptor_path, std::string_view uuid) {
  const std::optional<Intent> intent = TRY(read_intent(descriptor_path));
  if (!intent) return {};
  const auto nodes = intent->parameters.find(kHalfDone);
  if (nodes == intent->parameters.end()) return {};
  std::string_view rest = nodes->second;
  while (!rest.empty()) {
    const std::string_view node = rest.substr(0, rest.find(' '));
    if (same_uuid(node, uuid)) {
      return fail(ExitCode::Busy, "Snapshot " + std::string(uuid) +
                                      " is being merged, and that was interrupted: its own content is "
                                      "not there any more");
    }
    rest.remove_prefix(std::min(node.size() + 1, rest.size()));
  }
  return {};
}

bool names(const descriptor::Disk& disk, const std::string& file) {
  return std::ranges::any_of(disk.images, [&](const descriptor::Image& image) { return image.file == file; });
}

Result<Outcome> settle_files(Interrupted& work) {
  bool finished = true;
  std::vector<std::string> surplus;
  const auto look = [&](const std::string& name, bool wanted) {
    const std::string file = intent_file(work.path, name);
    const bool named = names(work.disk, file);
    if (!named) surplus.push_back(file);
    finished = finished && named == wanted;
  };
  for (const std::string& name : work.intent.creates)
    look(name, true);
  for (const std::string& name : work.intent.consumes)
    look(name, false);
  for (const std::string& file : surplus)
    TRY(remove_image(work.path, file));
  return finished ? Outcome::Finished : Outcome::Undone;
}

tl::unexpected<Error> to_be_continued(Error error, std::string_view what) {
  error.what += "; the disk can be used, and its next command goes on with " + std::string(what);
  return fail(std::move(error));
}

std::string staged_path(const std::string& descriptor_path) {
  return descriptor_path + ".tmp";
}

Status stage_descriptor(descriptor::Disk& disk, const std::string& descriptor_path) {
  return descriptor::store(disk, staged_path(descriptor_path), descriptor_path);
}

Status commit_descriptor(const std::string& descriptor_path, Rollback& rollback) {
  const std::string staged = staged_path(descriptor_path);
  if (::rename(staged.c_str(), descriptor_path.c_str()) != 0) {
    return fail_errno(ExitCode::Rename, "rename " + staged + " to " + descriptor_path);
  }
  rollback.commit();
  return sync_parent_directory(descriptor_path);
}

Status commit_descriptor(const std::string& descriptor_path) {
  Rollback nothing;
  return commit_descriptor(descriptor_path, nothing);
}

Result<control::CommitPoint> commit_point(const std::string& descriptor_path) {
  const std::string staged = staged_path(descriptor_path);
  const std::string own = staged + "." + random_name(kOwnName);
  if (::rename(staged.c_str(), own.c_str()) != 0) return fail_errno(ExitCode::Rename, "rename " + staged);
  return control::CommitPoint{own, descriptor_path};
}

Status unstage_descriptor(const std::string& descriptor_path) {
  const std::string directory = directory_of(descriptor_path);
  const std::string name = base_name(staged_path(descriptor_path));
  std::error_code broken;
  bool removed = false;
  for (const auto& entry : std::filesystem::directory_iterator(directory, broken)) {
    const std::string found = entry.path().filename().string();
    if (found != name && !is_own_name(found, name + ".")) continue;
    if (::unlink(entry.path().c_str()) != 0 && errno != ENOENT) {
      return fail_errno(ExitCode::Unlink, "remove " + entry.path().string());
    }
    removed = true;
  }
  if (broken) return fail(errno_error(ExitCode::Unlink, broken.value(), "look into " + directory));
  return removed ? sync_parent_directory(descriptor_path) : Status{};
}

Status remove_image(const std::string& descriptor_path, const std::string& file) {
  const std::string name = TRY(intent_name(descriptor_path, file));
  const Fd root = TRY(open_file(directory_of(descriptor_path), O_PATH | O_DIRECTORY));
  Fd parent;
  if (const std::size_t slash = name.rfind('/'); slash != std::string::npos) {
    parent = descriptor::open_beneath(root.get(), name.substr(0, slash), O_PATH | O_DIRECTORY);
    if (!parent && errno == ENOENT) return {};
    if (!parent) return fail_errno(ExitCode::Unlink, "remove " + file);
  }
  if (::unlinkat(parent ? parent.get() : root.get(), base_name(name).c_str(), 0) != 0) {
    if (errno == ENOENT) return {};
    return fail_errno(ExitCode::Unlink, "remove " + file);
  }
  log(LogLevel::Progress, "Removing {}", file);
  return sync_parent_directory(file);
}

}  // namespace ploop::ops
