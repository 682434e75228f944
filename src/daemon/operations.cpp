#include "daemon/operations.hpp"

#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/log.hpp"
#include "control/json.hpp"
#include "control/protocol.hpp"
#include "daemon/images.hpp"
#include "daemon/safety.hpp"
#include "image/grow.hpp"
#include "io/posix_file.hpp"

namespace ploop::daemon {
namespace {

constexpr std::uint64_t kReportPauseNs = 200'000'000;
constexpr std::uint64_t kTakeBackPauseNs = 20'000'000;

Status held(int result) {
  if (result == 0) return {};
  if (result == -ENOSPC) {
    return fail(errno_error(ExitCode::Busy, ENOSPC,
                            "Writes wait for space on the host file system; make room first"));
  }
  return fail(errno_error(ExitCode::DeviceIoctl, -result, "bring the device to a halt"));
}

io::PosixFile& posix_file(const image::Delta& delta) {
  // The worker opens nothing else.
  return static_cast<io::PosixFile&>(delta.file());
}

}  // namespace

/// Runs to its end by itself.
struct Operations::Job {
  struct promise_type {
    Job get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    [[noreturn]] void unhandled_exception() { std::abort(); }
  };
};

/// A message to the guardian and the wait for its answer.
struct Operations::Ask {
  Operations& self;
  const char* name;
  std::string body;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> h) {
    self.answered_.reset();
    if (Status sent = self.parts_.guardian.send(name, body); !sent) {
      self.answered_ = std::move(sent);
      return false;
    }
    self.asking_ = h;
    return true;
  }
  [[nodiscard]] Status await_resume() const { return *std::exchange(self.answered_, std::nullopt); }
};

Operations::Operations(Parts parts, Replies replies)
    : parts_(std::move(parts)), replies_(std::move(replies)), lent_(parts_.lent) {
  if (lent_) take_back(*this);
}

bool Operations::handles(std::string_view method) {
  return method == "push_delta" || method == "merge_top" || method == "cancel_merge" || method == "lend" ||
         method == "set_lower" || method == "grow";
}

void Operations::run(control::Call call) {
  if (call.request.method == "cancel_merge") {
    parts_.device.cancel_drain();
    return replies_.result(call, {});
  }
  Result<Change> change = control::decode_chain_change(call.request.params);
  if (!change) return replies_.result(call, fail(change.error()));
  const std::string& method = call.request.method;
  if (!change->known.empty() && change->known != control::paths_of(parts_.spec.deltas)) {
    return replies_.result(
        call, fail(ExitCode::Busy,
                   "Another command has changed the images of the device meanwhile; run this one again"));
  }
  const auto busy = [&] {
    const std::string what(engine::maintenance_name(parts_.device.maintenance()));
    replies_.result(call, fail(ExitCode::Busy, "The device is busy with another operation (" + what + ")"));
  };
  if (method == "merge_top" && parts_.device.maintenance() == engine::Maintenance::Merge) {
    merge_commit_ = change->commit;
    return merging_.push_back(std::move(call));
  }
  if (method == "lend") return replies_.result(call, lend(call, change->level));
  engine::Maintenance what = engine::Maintenance::Chain;
  if (method == "push_delta") what = engine::Maintenance::Snapshot;
  if (method == "merge_top") what = engine::Maintenance::Merge;
  if (method == "grow") what = engine::Maintenance::Grow;
  if (parts_.spec.read_only) return replies_.result(call, fail(ExitCode::Param, "The device is read-only"));
  if (method != "merge_top" && parts_.device.merging()) {
    return replies_.result(call, fail(ExitCode::Busy, "A merge of the top is not finished; run it again"));
  }
  if (!parts_.device.begin(what)) return busy();
  if (method == "push_delta") {
    push_delta(*this, std::move(call), *std::move(change));
  } else if (method == "merge_top") {
    merge_top(*this, std::move(call), *std::move(change));
  } else if (method == "set_lower") {
    set_lower(*this, std::move(call), *std::move(change));
  } else {
    grow(*this, std::move(call), *std::move(change));
  }
}

bool Operations::on_guardian(const Message& message) {
  if (message.name != "chain" && message.name != "resized") return false;
  answered_.emplace();
  *answered_ = control::decode_outcome(message.body);
  if (asking_) std::exchange(asking_, nullptr).resume();
  return true;
}

std::string_view Operations::occupied_by() const {
  engine::Maintenance what = parts_.device.maintenance();
  // Who borrowed a level has its lock, which a successor would need.
  if (what == engine::Maintenance::None && lent_) what = engine::Maintenance::Chain;
  return what == engine::Maintenance::None ? std::string_view() : engine::maintenance_name(what);
}

bool Operations::retire() {
  if (!parts_.transport.retire()) return false;
  // A merge that rests keeps it from being noted, and stays as it is: it is resumed by whoever asks the
  // successor.
  [[maybe_unused]] const bool noted = parts_.device.begin(engine::Maintenance::Upgrade);
  return true;
}

void Operations::stay() {
  parts_.transport.stay();
  if (parts_.device.maintenance() == engine::Maintenance::Upgrade) parts_.device.end();
}

Operations::Ask Operations::commit(const ChainState& next) {
  return {*this, "chain", control::encode_chain_state(next)};
}
Operations::Ask Operations::resize_device() {
  return {*this, "resize",
          control::to_line(control::Json{{"sectors", parts_.device.size_bytes() / kSectorSize}})};
}

control::ChainState Operations::current() const {
  return {parts_.spec.deltas, parts_.spec.merging, parts_.device.size_bytes() / kSectorSize, {}, {}};
}

void Operations::adopt(const ChainState& next) {
  parts_.spec.deltas = next.deltas;
  parts_.spec.merging = next.merging;
}

void Operations::finish(const control::Call& call, const Status& status) {
  parts_.device.end();
  if (!status) log_error("{}: {}", call.request.method, status.error().message());
  replies_.result(call, status);
}

control::MaintenanceState Operations::state() const {
  control::MaintenanceState state;
  engine::Maintenance what = parts_.device.maintenance();
  if (what == engine::Maintenance::None && parts_.device.merging()) what = engine::Maintenance::Merge;
  state.name = engine::maintenance_name(what);
  if (what == engine::Maintenance::Merge) {
    const engine::MergeProgress progress = parts_.device.merge_progress();
    state.done = progress.done;
    state.total = progress.total;
  }
  return state;
}

// --- a new top

Status Operations::prepare_push(const Change& change) {
  if (change.deltas.size() != 1 || change.deltas.front().read_only) {
    return fail(ExitCode::Param, "A snapshot needs one new image, to be written");
  }
  return parts_.device.prepare_push(
      TRY(open_image(parts_.files, change.deltas.front(), parts_.spec.raw_cluster_sectors, FileRole::Fresh)));
}

Operations::Job Operations::push_delta(Operations& self, control::Call call, Change change) {
  engine::Device& device = self.parts_.device;
  Status status = self.prepare_push(change);
  if (status) status = held(co_await device.hold());
  if (!status) {
    self.finish(call, status);
    co_return;
  }
  ChainState next = self.current();
  next.deltas.back().read_only = true;
  next.fresh = {next.deltas.size()};
  next.deltas.push_back(change.deltas.front());
  next.commit = change.commit;
  status = device.seal_top();
  if (status) status = co_await self.commit(next);
  if (status) {
    device.push();
    self.adopt(next);
    // Others may read it from now on.
    if (!self.relock(next.deltas.size() - 2)) log_error("the former top could not be locked for reading");
  } else if (const Status back = device.unseal_top(); !back) {
    log_error("the top image could not be marked in use again: {}", back.error().message());
  }
  device.release();
  self.finish(call, status);
}

// --- other lower levels

Result<std::vector<image::Delta>> Operations::open_lower(const std::vector<control::DeltaSpec>& lower,
                                                         FileRole role) const {
  std::vector<image::Delta> deltas;
  for (const control::DeltaSpec& delta : lower) {
    deltas.push_back(TRY(open_image(parts_.files, delta, parts_.spec.raw_cluster_sectors, role)));
  }
  return deltas;
}

Operations::Job Operations::set_lower(Operations& self, control::Call call, Change change) {
  engine::Device& device = self.parts_.device;
  Result<std::vector<image::Delta>> lower = self.open_lower(change.deltas, FileRole::Fresh);
  // Not in a conditional expression: GCC 12 then destroys the other branch's temporaries although they never
  // lived.
  Status status;
  if (!lower) status = fail(lower.error());
  if (status) status = held(co_await device.hold());
  if (!status) {
    self.finish(call, status);
    co_return;
  }
  ChainState next = self.current();
  const control::DeltaSpec top = next.deltas.back();
  next.deltas = change.deltas;
  for (std::size_t level = 0; level < next.deltas.size(); ++level)
    next.fresh.push_back(level);
  next.deltas.push_back(top);
  next.commit = change.commit;
  status = co_await self.commit(next);
  if (status) {
    self.adopt(next);
    self.level_is_back();
    status = device.reopen(*std::move(lower), false, self.parts_.map.memory());
  }
  device.release();
  self.finish(call, status);
}

Status Operations::lend(const control::Call& call, std::size_t level) {
  if (level + 1 >= parts_.spec.deltas.size()) return fail(ExitCode::Param, "Only a lower level can be lent");
  if (lent_ == level && lent_to_ == 0) {  // whoever had it is gone, and the lock is not taken back yet
    lent_to_ = call.connection;
    return {};
  }
  if (lent_ || parts_.device.merging()) return fail(ExitCode::Busy, "A level is lent already");
  // The guardian first: a successor that does not know would wait for a lock that the borrower has.
  TRY(parts_.guardian.send("lent", control::to_line(control::Json{{"level", level}})));
  TRY(posix_file(parts_.device.delta(level)).unlock());
  lent_ = level;
  lent_to_ = call.connection;
  return {};
}

bool Operations::relock(std::size_t level) {
  const Result<bool> locked = posix_file(parts_.device.delta(level)).try_lock(io::LockKind::Shared);
  return locked && *locked;
}

void Operations::level_is_back() {
  if (!lent_) return;
  lent_.reset();
  ignore(parts_.guardian.send("returned"), "its end is noticed elsewhere");
}

/// The borrower's connection has ended, or was to a predecessor. It may work on; its file is as good as
/// before: what may be done to it does not change what is read.
Operations::Job Operations::take_back(Operations& self) {
  while (self.lent_ && self.lent_to_ == 0) {
    if (*self.lent_ + 1 >= self.parts_.spec.deltas.size() || self.relock(*self.lent_)) {
      self.level_is_back();
      break;
    }
    co_await io::TimeoutAwaiter(self.parts_.ring, kTakeBackPauseNs);
  }
}

void Operations::connection_closed(std::uint64_t connection) {
  if (!lent_ || lent_to_ != connection) return;
  lent_to_ = 0;
  take_back(*this);
}

// --- merging the top

Status Operations::grow_lower(image::Delta& into) const {
  const std::uint64_t size = parts_.device.size_bytes() / kSectorSize;
  return into.size_sectors() < size ? image::grow_image(into, size) : Status{};
}

/// All levels under the top, the last of them for writing; it is made as large as the device, which is why
/// the device has to be held. `changed`: clusters of that level may lie elsewhere by now, whether it succeeds
/// or not.
Result<std::vector<image::Delta>> Operations::open_merge(ChainState& next, bool& changed) {
  const std::size_t into = next.deltas.size() - 2;
  next.deltas[into].read_only = false;
  next.merging = true;
  TRY(posix_file(parts_.device.delta(into)).unlock());
  Rollback rollback;
  rollback.add([this, into] {
    if (!relock(into)) log_error("level {} could not be locked again", into);
  });
  const std::vector<control::DeltaSpec> lower(next.deltas.begin(), next.deltas.end() - 1);
  std::vector<image::Delta> deltas = TRY(open_lower(lower));
  if (deltas.back().kind() == image::Kind::Raw) {
    return fail(ExitCode::Param, "A running disk can't be merged into a raw image; unmount it first");
  }
  if (deltas.back().size_sectors() * kSectorSize < parts_.device.size_bytes()) {
    changed = true;
    TRY(grow_lower(deltas.back()));
    deltas.pop_back();
    deltas.push_back(TRY(open_image(parts_.files, next.deltas[into], parts_.spec.raw_cluster_sectors)));
  }
  rollback.commit();
  return deltas;
}

/// The levels below the top as they were: locked and, where one has changed, read anew. What the map says of
/// that one is not true any more, so without that only a successor, which reads all tables, can go on.
void Operations::restore_lower(bool changed) {
  const std::vector<control::DeltaSpec> below(parts_.spec.deltas.begin(), parts_.spec.deltas.end() - 1);
  Result<std::vector<image::Delta>> lower = open_lower(below);
  if (!lower && changed) {
    log_error("a lower level has changed and can't be opened again: {}", lower.error().message());
    ::_exit(1);
  }
  const Status restored =
      lower ? parts_.device.reopen(*std::move(lower), false, parts_.map.memory()) : fail(lower.error());
  if (!restored) log_error("the lower levels could not be opened again: {}", restored.error().message());
}

Operations::Job Operations::report_merge(Operations& self) {
  while (!self.merging_.empty()) {
    const std::string event = control::encode_maintenance(self.state());
    for (const control::Call& call : self.merging_)
      self.replies_.event(call, event);
    co_await io::TimeoutAwaiter(self.parts_.ring, kReportPauseNs);
  }
}

Operations::Job Operations::merge_top(Operations& self, control::Call call, Change change) {
  engine::Device& device = self.parts_.device;
  self.merge_commit_ = change.commit;
  self.merging_.push_back(std::move(call));
  Status status;
  if (self.parts_.spec.deltas.size() < 2)
    status = fail(ExitCode::Param, "There is nothing below the top to merge it into");
  if (status && !device.merging()) {
    status = held(co_await device.hold());
    if (status) {
      ChainState begun = self.current();
      bool changed = false;
      Result<std::vector<image::Delta>> lower = self.open_merge(begun, changed);
      status = lower ? Status{} : fail(lower.error());
      if (status) status = co_await self.commit(begun);
      if (status) {
        self.adopt(begun);
        status = device.reopen(*std::move(lower), true, self.parts_.map.memory());
      } else if (lower || changed) {
        if (lower) lower->clear();  // lets go of the lock
        self.restore_lower(changed);
      }
      device.release();
    }
  }
  if (status) {
    report_merge(self);
    const int drained = co_await device.drain_overlay();
    if (drained == -ECANCELED) {
      status = fail(ExitCode::System, "cancelled");
    } else if (drained < 0) {
      status = fail(errno_error(ExitCode::Write, -drained, "move data out of the top image"));
    }
  }
  if (status) status = held(co_await device.hold());
  if (status) {
    ChainState next = self.current();
    next.deltas.pop_back();
    next.merging = false;
    do {
      next.commit = self.merge_commit_;
      status = co_await self.commit(next);
      // Of a command that joined while another's commit point, which was gone, was tried.
    } while (!status && next.commit != self.merge_commit_);
    if (status) {
      device.drop_overlay();
      self.adopt(next);
    }
    device.release();
  }
  device.end();
  if (!status) log_error("merge_top: {}", status.error().message());
  for (const control::Call& waiting : std::exchange(self.merging_, {}))
    self.replies_.result(waiting, status);
}

// --- growing

Status Operations::check_growth(std::uint64_t size_sectors) const {
  const std::uint64_t cluster = parts_.device.cluster_bytes() / kSectorSize;
  if (size_sectors % cluster != 0) {
    return fail(ExitCode::Param,
                "The size must be a multiple of the cluster size, " + std::to_string(cluster) + " sectors");
  }
  const std::uint64_t now = parts_.device.size_bytes() / kSectorSize;
  if (size_sectors > now && !parts_.transport.info().can_resize) {
    return fail(ExitCode::DeviceIoctl,
                "This kernel can't resize a ublk device while it runs: unmount it first, or mount it with "
                "--transport fuse");
  }
  TRY(check_file_size_limit(size_sectors * kSectorSize, parts_.device.cluster_bytes()));
  // The same: who asks does not know yet that a worker which died had come so far.
  if (size_sectors >= now) return {};
  return fail(ExitCode::Param, "Incorrect new size specified " + std::to_string(size_sectors) +
                                   " current size " + std::to_string(now));
}

/// The held device's top file, through a second descriptor: what the engine knows of it is read anew
/// afterwards.
Status Operations::grow_top(std::uint64_t size_sectors) {
  const control::DeltaSpec& spec = parts_.spec.deltas.back();
  std::unique_ptr<io::PosixFile> file = TRY(parts_.files.open(spec.path, true, false, FileRole::Level));
  if (!file->same_file(posix_file(parts_.device.delta(parts_.spec.deltas.size() - 1)))) {
    return fail(ExitCode::Open, spec.path + " is not the file that the device writes any more");
  }
  if (spec.kind == control::ImageKind::Raw) {
    return image::resize_raw(*file, size_sectors * kSectorSize, parts_.device.cluster_bytes());
  }
  image::OpenOptions understand;
  understand.writable = true;
  understand.allow_in_use = true;
  image::Delta top = TRY(image::Delta::open(std::move(file), image::Kind::Ploop1, understand));
  return image::grow_image(top, size_sectors);
}

/// A raw file that did not become larger for good is as long as it was. Other images have the new size once
/// their header says so, and the device follows.
void Operations::undo_growth() const {
  if (parts_.spec.deltas.back().kind != control::ImageKind::Raw) return;
  io::PosixFile& file = posix_file(parts_.device.delta(parts_.spec.deltas.size() - 1));
  const Status undone = image::resize_raw(file, parts_.device.size_bytes(), kSectorSize);
  if (!undone) log_error("{}", undone.error().message());
}

Operations::Job Operations::grow(Operations& self, control::Call call, Change change) {
  engine::Device& device = self.parts_.device;
  const std::uint64_t old_bytes = device.size_bytes();
  const std::vector<control::DeltaSpec> below(self.parts_.spec.deltas.begin(),
                                              self.parts_.spec.deltas.end() - 1);
  Status status = self.check_growth(change.size_sectors);
  Result<std::vector<image::Delta>> lower = self.open_lower(below);
  if (status && !lower) status = fail(lower.error());
  if (status) status = held(co_await device.hold());
  if (!status) {
    self.finish(call, status);
    co_return;
  }
  // Room for the larger map before a file changes: without it the device could not go on with what the file
  // is by then.
  status = self.parts_.map.grow(
      engine::Device::map_bytes(change.size_sectors * kSectorSize, device.cluster_bytes()));
  if (status) status = device.seal_top();
  if (status) status = self.grow_top(change.size_sectors);
  ChainState next = self.current();
  next.size_sectors = change.size_sectors;
  next.commit = change.commit;
  if (status) status = co_await self.commit(next);
  if (!status) self.undo_growth();
  // Also after a failure: clusters of the top may have moved.
  const Status reopened = device.reopen(*std::move(lower), false, self.parts_.map.memory());
  if (status) status = reopened;
  device.release();
  self.parts_.transport.size_changed();
  // Without its commit point, too, the image has the new size, and so has this device.
  if (status || device.size_bytes() != old_bytes) {
    const Status told = co_await self.resize_device();
    if (status) status = told;
  }
  self.finish(call, status);
}

}  // namespace ploop::daemon
