#include "ops/snapshot_merge.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "base/log.hpp"
#include "base/paths.hpp"
#include "descriptor/image_path.hpp"
#include "ops/cancel.hpp"
#include "ops/disk_use.hpp"
#include "ops/live_chain.hpp"
#include "ops/merge.hpp"
#include "ops/prepare.hpp"

namespace ploop::ops {
namespace {

using descriptor::Disk;
using descriptor::MergePlan;

/// One merge that has its own note and its own commit. A range on a running disk takes two: the lower levels
/// first.
struct Step {
  MergePlan plan;  ///< one node only: its file is copied to the new one
  std::string new_file = {};
  std::string request = {};
  bool resume = false;
  ProgressCallback progress = {};
};

/// What a step works on.
struct Work {
  const std::string& path;
  Disk& disk;
  Intent note = {};  ///< of the step
};

bool is_raw_base(const Disk& disk, const std::string& uuid) {
  return disk.base_is_raw() && same_uuid(disk.find_shot(uuid)->parent, kNoUuid);
}

std::string shown(const Disk& disk, const std::string& file) {
  const std::string prefix = disk.directory == "/" ? "/" : disk.directory + "/";
  return file.starts_with(prefix) ? file.substr(prefix.size()) : file;
}

/// "Offline snapshot merge {C} -> {P}", "Merging image: up.hdd -> low.hdd".
void log_plan(const Disk& disk, const MergePlan& plan, const std::string& new_file, bool online) {
  const std::string_view place = online ? "Online" : "Offline";
  if (plan.nodes.size() == 2) {
    const bool temporary = disk.find_shot(plan.lower())->temporary;
    log(LogLevel::Progress, "{} {}snapshot merge {} -> {}{}", place, temporary ? "temporary " : "",
        plan.upper(), plan.lower(), is_raw_base(disk, plan.lower()) ? " (raw)" : "");
  } else {
    log(LogLevel::Progress, "{} merge of {} snapshots", place, plan.nodes.size() - 1);
  }
  std::string sources;
  const std::vector<std::string> files = descriptor::files_of(disk, plan);
  const std::size_t read = files.size() - (new_file.empty() ? 1 : 0);
  for (std::size_t i = 0; i < read; ++i)
    sources += (i == 0 ? "" : " ") + shown(disk, files[i]);
  log(LogLevel::Progress, "Merging image{}: {} -> {}{}", read == 1 ? "" : "s", sources,
      new_file.empty() ? "" : "(new) ", shown(disk, new_file.empty() ? files.back() : new_file));
}

/// The note of a step. That of a merge into a new image does not name that image: until it is complete a file
/// of this name is somebody else's.
Result<Intent> intent_of(const Work& work, const Step& step, const std::vector<std::string>& gone) {
  Intent intent{.op = "snapshot-merge", .uuid = step.plan.upper()};
  for (const std::string& file : gone)
    intent.consumes.push_back(TRY(intent_name(work.path, file)));
  intent.parameters = {{"lower", step.plan.lower()}, {kRequest, step.request}};
  if (step.new_file.empty()) {
    std::string half_done;
    for (std::size_t i = 1; i < step.plan.nodes.size(); ++i)
      half_done += (i == 1 ? "" : " ") + step.plan.nodes[i];
    intent.parameters[kHalfDone] = half_done;
  } else {
    intent.creates = {TRY(intent_name(work.path, merge_work_file(step.new_file)))};
  }
  return intent;
}

/// The same once the new image is complete. It comes first: what finish_merge() looks at.
Status note_new_image(const Work& work, const std::string& new_file) {
  Intent note = work.note;
  note.creates.insert(note.creates.begin(), TRY(intent_name(work.path, new_file)));
  return write_intent(work.path, note);
}

Result<MergeFiles> files_for(const Work& work, const Step& step) {
  MergeFiles files;
  files.sources = TRY(descriptor::image_paths(work.disk, descriptor::files_of(work.disk, step.plan)));
  files.destination = std::move(files.sources.back());
  files.sources.pop_back();
  files.raw = is_raw_base(work.disk, step.plan.lower());
  files.nothing_below = same_uuid(work.disk.find_shot(step.plan.lower())->parent, kNoUuid);
  files.new_image = step.new_file;
  files.resume = step.resume;
  files.progress = step.progress;
  if (!step.new_file.empty()) files.complete = [&] { return note_new_image(work, step.new_file); };
  return files;
}

/// A crash since the interruption may have left any of the files marked.
Status repair_for_resume(const MergeFiles& files) {
  std::vector<control::DeltaSpec> deltas;
  for (const std::string& file : files.sources)
    deltas.push_back({file});
  if (!files.raw) deltas.push_back({files.destination});
  return repair_chain(deltas, true);
}

/// Did a failed merge of files change nothing?
bool untouched(const Error& error) {
  return error.code == ExitCode::Open || error.code == ExitCode::Format || error.code == ExitCode::Param;
}

/// The data. From the moment at which something may have changed in the lower file there is no way back.
Status move_data(const Work& work, const MergeFiles& files, Rollback& rollback) {
  if (auto merged = merge_files(files); !merged) {
    Error error = std::move(merged).error();
    if (!files.new_image.empty() || (untouched(error) && !files.resume)) return fail(std::move(error));
    rollback.commit();
    return to_be_continued(std::move(error), "the merge");
  }
  if (files.new_image.empty()) {
    rollback.commit();
  } else {
    rollback.add([&work, file = files.new_image] {
      ignore(remove_image(work.path, file), "the first error is the one to report");
    });
  }
  return {};
}

Status run_stopped(const Work& work, const Step& step, Rollback& rollback) {
  const MergeFiles files = TRY(files_for(work, step));
  if (step.resume) TRY(repair_for_resume(files));
  TRY(move_data(work, files, rollback));
  return commit_descriptor(work.path, rollback);
}

/// Levels that a running device only reads: the files are merged as those of a stopped disk, then the device
/// takes the result in their place.
Status run_below_top(const Work& work, const Step& step, const DeviceState& device, Rollback& rollback) {
  const MergeFiles files = TRY(files_for(work, step));
  control::Client client = TRY(control::Client::connect(device.number));
  TRY(wait_until_idle(client, device));
  if (step.new_file.empty()) TRY(client.lend(*level_of(device, files.destination)));
  TRY(move_data(work, files, rollback));
  const std::vector<std::string>& gone = files.sources;
  const auto lower = step.new_file.empty() ? lower_without(device, gone)
                                           : lower_without(device, gone, files.destination, step.new_file);
  // A worker that died meanwhile has a successor.
  control::Client successor = TRY(control::Client::connect(device.number));
  const Status exchanged = successor.set_lower(device.deltas, lower, TRY(commit_point(work.path)));
  const std::string& consumed = step.new_file.empty() ? gone.front() : files.destination;
  if (!exchanged && !TRY(took_place(work.path, consumed, false, rollback))) return exchanged;
  rollback.commit();
  return {};
}

/// The device itself moves its top into the level below, under I/O.
Status run_top(const Work& work, const Step& step, const DeviceState& device, Rollback& rollback) {
  const std::vector<std::string> files = descriptor::files_of(work.disk, step.plan);
  control::Client client = TRY(control::Client::connect(device.number));
  TRY(wait_until_idle(client, device, "MERGE"));
  log(LogLevel::Detail, "Opening delta {}", files.back());
  log(LogLevel::Progress, "Merging top delta");
  Status merged =
      client.merge_top(device.deltas, TRY(commit_point(work.path)), step.progress, cancel_requested);
  if (!merged && !TRY(took_place(work.path, files.front(), false, rollback))) {
    const auto state = client.maintenance();
    if (state && state->name != "MERGE" && !step.resume) return merged;
    rollback.commit();
    return to_be_continued(std::move(merged).error(), "the merge");
  }
  rollback.commit();
  return {};
}

enum class Place { Stopped, BelowTop, Top };

/// Notes, stages, merges, commits, removes what is not named any more.
Status run_step(Work work, const Step& step, Place place, const DiskUse& use) {
  Disk next = work.disk;
  const std::vector<std::string> gone = descriptor::merge_nodes(next, step.plan, step.new_file);
  work.note = TRY(intent_of(work, step, gone));
  TRY(write_intent(work.path, work.note));
  Rollback rollback;
  // A merge that is resumed has its data in the lower file already.
  if (!step.resume)
    rollback.add([&] { ignore(remove_intent(work.path), "the first error is the one to report"); });
  rollback.add([&] { ignore(unstage_descriptor(work.path), "the first error is the one to report"); });
  TRY(stage_descriptor(next, work.path));
  if (place == Place::Stopped) TRY(run_stopped(work, step, rollback));
  if (place == Place::BelowTop) TRY(run_below_top(work, step, *use.running, rollback));
  if (place == Place::Top) TRY(run_top(work, step, *use.running, rollback));
  work.disk = std::move(next);
  for (const std::string& file : gone)
    TRY(remove_image(work.path, file));
  return remove_intent(work.path);
}

/// A lower file of a running device can't get a longer table in place: what is in the way would have to move
/// under the device's reads.
Result<bool> needs_new_file(const Disk& disk, const Step& step) {
  if (!step.new_file.empty() || is_raw_base(disk, step.plan.lower())) return false;
  const std::vector<std::string> files =
      TRY(descriptor::image_paths(disk, descriptor::files_of(disk, step.plan)));
  const format::Header lower = TRY(read_header(files.back()));
  const format::Header upper = TRY(read_header(files.front()));
  return lower.size_sectors < upper.size_sectors;
}

/// The merge of a plan, in one step or two.
Status run_steps(Work work, Step step, bool online) {
  DiskUse use = TRY(disk_use(work.disk, work.path));
  if (!online) return run_step(work, step, Place::Stopped, use);
  const bool with_top = same_uuid(step.plan.upper(), work.disk.top_uuid);
  if (!with_top || step.plan.nodes.size() > 2 || !step.new_file.empty()) {
    Step below = step;
    if (with_top) {
      below.plan.nodes.erase(below.plan.nodes.begin());
      below.request.clear();  // who repeats the command gets the rest
    }
    if (TRY(needs_new_file(work.disk, below))) {
      if (below.resume) {
        return fail(ExitCode::Busy,
                    "A lower image has to become longer for that: it goes on when the disk is not attached");
      }
      below.new_file = descriptor::new_delta_file(work.disk);
    }
    TRY(run_step(work, below, Place::BelowTop, use));
    if (!with_top) return {};
    use = TRY(disk_use(work.disk, work.path));
    step.plan.nodes = {step.plan.upper(), below.plan.upper()};
    step.new_file.clear();
    step.resume = false;
  }
  return run_step(work, step, Place::Top, use);
}

/// How many nodes of the plan the running device has.
std::size_t count_running(const Disk& disk, const DiskUse& use, const MergePlan& plan) {
  if (!use.running) return 0;
  const std::vector<std::string> files = descriptor::files_of(disk, plan);
  return static_cast<std::size_t>(std::ranges::count_if(
      files, [&](const std::string& f) { return level_of(*use.running, real_file(disk, f)).has_value(); }));
}

Status refuse_mixed(const DiskUse& use, const MergePlan& plan, std::size_t running) {
  if (running == 0 || running == plan.nodes.size()) return {};
  return fail(ExitCode::Param,
              (plan.nodes.size() == 2 ? "Inconsistency detected: " : "Can't do mixed merge: ") +
                  std::to_string(running) + " of " + std::to_string(plan.nodes.size()) +
                  " images belong to the running device " + device_name(*use.running));
}

Result<MergePlan> plan_of(const Disk& disk, const SnapshotMergeOptions& options) {
  if (options.all) return descriptor::plan_merge_all(disk);
  const std::string upper = options.uuid.value_or(disk.top_uuid);
  return options.lower ? descriptor::plan_merge_range(disk, upper, *options.lower)
                       : descriptor::plan_merge_pair(disk, upper);
}

std::string request_of(const SnapshotMergeOptions& options) {
  if (options.all) return "all";
  return "merge " + options.uuid.value_or("top") + " " + options.lower.value_or("parent") + " " +
         options.new_file;
}

/// Absolute name of -n; it must be free, and in the disk's directory like every image.
Result<std::string> resolve_new_file(const OpenedDisk& disk, const MergePlan& plan, const std::string& name) {
  std::string file = TRY(canonical_new_path(name, ExitCode::Create));
  struct stat info {};
  if (::lstat(file.c_str(), &info) == 0) {
    return fail(errno_error(ExitCode::Param, EEXIST, "Can't merge to new image " + name));
  }
  TRY(intent_name(disk.path, file));
  if (is_raw_base(disk.disk, plan.lower())) {
    return fail(ExitCode::Open,
                "Can't merge to new image " + name + ": the base image is raw, merge into it instead");
  }
  return file;
}

std::string request_of(const Intent& intent) {
  const auto request = intent.parameters.find(kRequest);
  return request == intent.parameters.end() ? "" : request->second;
}

/// Done once the descriptor names the new image. The working file is never named.
Result<Outcome> settle_new_image(Interrupted& work) {
  TRY(settle_files(work));
  const bool done = names(work.disk, intent_file(work.path, work.intent.creates.front()));
  return done ? Outcome::Finished : Outcome::Undone;
}

}  // namespace

Status merge_nodes(descriptor::Locked& locked, const MergeOrder& order) {
  const DiskUse use = TRY(disk_use(locked.disk, locked.path));
  const std::size_t running = count_running(locked.disk, use, order.plan);
  TRY(refuse_mixed(use, order.plan, running));
  for (const std::string& uuid : order.plan.nodes)
    TRY(free_node(use, locked.disk, uuid));
  const CleanupSection section;
  log_plan(locked.disk, order.plan, order.new_file, running != 0);
  const Step step{
      .plan = order.plan, .new_file = order.new_file, .request = order.request, .progress = order.progress};
  return run_steps({locked.path, locked.disk}, step, running != 0);
}

Result<Outcome> finish_merge(Interrupted& work) {
  if (!work.intent.creates.empty()) return settle_new_image(work);
  const auto lower = work.intent.parameters.find("lower");
  if (lower == work.intent.parameters.end()) return settle_files(work);
  const auto plan = descriptor::plan_merge_range(work.disk, work.intent.uuid, lower->second);
  if (!plan) return settle_files(work);
  const DiskUse use = TRY(disk_use(work.disk, work.path));
  const std::size_t running = count_running(work.disk, use, *plan);
  TRY(refuse_mixed(use, *plan, running));
  for (const std::string& uuid : plan->nodes)
    TRY(free_node(use, work.disk, uuid));
  const CleanupSection section;
  TRY(run_steps({work.path, work.disk}, {.plan = *plan, .request = request_of(work.intent), .resume = true},
                running != 0));
  return Outcome::Finished;
}

Status snapshot_merge(const SnapshotMergeOptions& options) {
  OpenedDisk opened = TRY(open_disk(options.descriptor));
  MergeOrder order;
  order.request = request_of(options);
  order.progress = options.progress;
  const bool done = opened.just_finished("snapshot-merge", order.request);
  if (!done) {
    order.plan = TRY(plan_of(opened.disk, options));
    if (!options.new_file.empty())
      order.new_file = TRY(resolve_new_file(opened, order.plan, options.new_file));
    TRY(merge_nodes(opened, order));
  }
  const bool one = !options.all && !options.lower;
  log(LogLevel::Progress, "{}",
      one ? "ploop snapshot has been successfully merged" : "Snapshots successfully merged");
  return {};
}

}  // namespace ploop::ops
