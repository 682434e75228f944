#include "ops/copy_send.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <thread>
#include <vector>

#include "base/endian.hpp"
#include "base/log.hpp"
#include "base/paths.hpp"
#include "base/subprocess.hpp"
#include "base/units.hpp"
#include "control/client.hpp"
#include "control/registry.hpp"
#include "format/header.hpp"
#include "fs/freeze.hpp"
#include "ops/attach.hpp"
#include "ops/cancel.hpp"
#include "ops/copy_source.hpp"
#include "ops/copy_writer.hpp"
#include "ops/space_watch.hpp"

namespace ploop::ops {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kBatchBytes = 4 * kMiB;
constexpr std::uint64_t kPartBytes = 512 * kKiB;
/// A round that took no longer is worth freezing for: the next one would hardly be shorter.
constexpr auto kShortRound = std::chrono::milliseconds(100);
/// The historical limit; a receiver or disk slower than the guest's writes is never caught up with.
constexpr int kMaxRounds = 10;
constexpr int kRoundsAfterSync = 5;
constexpr int kRoundsBeforeFreeze = 3;
/// Looks at a file system that is frozen. A device calms down after the first: freed clusters are punched
/// after the flush.
constexpr int kFrozenTries = 8;
constexpr int kFrozenRounds = 5;
constexpr auto kFirstPause = std::chrono::milliseconds(5);
/// Beyond it the guard gives the file system back, and the copy fails.
constexpr auto kFreezeLimit = std::chrono::seconds(120);

/// Offset of the in-use mark in an image (docs/format.md, section 2).
constexpr std::size_t kInUseOffset = 44;
constexpr std::uint64_t kHeaderPage = 4096;

/// What failures of the device are to users: that something else runs, or that a flush failed, keeps its own
/// status.
template <typename T>
Result<T> as_device_error(Result<T> result) {
  if (result || result.error().code == ExitCode::Busy || result.error().code == ExitCode::Fsync)
    return result;
  Error error = std::move(result).error();
  error.code = ExitCode::DeviceIoctl;
  return fail(std::move(error).with_context("copy"));
}

class Sender {
 public:
  Sender(const CopySendOptions& options, control::Client client, CopySource source, CopySink& sink,
         std::uint64_t used, bool raw)
      : options_(options),
        client_(std::move(client)),
        source_(std::move(source)),
        sink_(sink),
        writer_(sink, kBatchBytes),
        used_(used),
        raw_(raw) {}

  Status run(const fs::LiveRoot& mounted);

 private:
  /// What one round over the written parts was like.
  struct Round {
    std::uint64_t bytes = 0;
    Clock::duration time{};
  };

  Status full_pass();
  Status live_rounds(int most);
  Result<Round> round();
  Status frozen(const fs::LiveRoot& mounted);
  Status last_rounds();
  Status send_header();
  Status run_stop_command();
  Status settle(const fs::LiveRoot& mounted);
  Status send(std::uint64_t start, std::uint64_t end);
  Status send_batch();

  const CopySendOptions& options_;
  control::Client client_;
  CopySource source_;
  CopySink& sink_;
  AlignedBuffer header_{kHeaderPage};  // outlives the writer, which may be sending it
  CopyWriter writer_;
  std::vector<CopySource::Part> parts_;  ///< of the batch that is being filled
  std::uint64_t batch_bytes_ = 0;
  std::uint64_t used_;
  bool raw_;
  std::uint64_t frozen_bytes_ = 0;
};

/// Reads what the current batch is to hold, and sends it off.
Status Sender::send_batch() {
  if (parts_.empty()) return {};
  TRY(stop_if_cancelled());
  TRY(source_.read(parts_));
  std::vector<CopyPiece>& pieces = writer_.current().pieces;
  for (const CopySource::Part& part : parts_)
    pieces.push_back({part.position, {part.memory, part.size}});
  parts_.clear();
  batch_bytes_ = 0;
  return writer_.submit();
}

/// Puts a range of the file, starting at a page, into batches. What is still in the last one goes with
/// send_batch().
Status Sender::send(std::uint64_t start, std::uint64_t end) {
  while (start < end) {
    if (batch_bytes_ == kBatchBytes) TRY(send_batch());
    const std::uint64_t size = std::min({end - start, kPartBytes, kBatchBytes - batch_bytes_});
    parts_.push_back({start, size, writer_.current().buffer.data() + batch_bytes_});
    batch_bytes_ += round_up(size, kPageSize);
    start += size;
  }
  return {};
}

Status Sender::full_pass() {
  for (std::uint64_t position = 0; position < used_;) {
    report_progress(options_.progress, position, used_);
    const std::uint64_t end = std::min(position + kBatchBytes, used_);
    // First the position, then the read: what is written in between is recorded.
    TRY(as_device_error(client_.track_set(end)));
    TRY(send(position, end));
    TRY(send_batch());
    position = end;
  }
  report_progress(options_.progress, used_, used_);
  return {};
}

/// Everything that was written since it was read last. The position moves with what the file has grown by.
Result<Sender::Round> Sender::round() {
  Round result;
  const Clock::time_point start = Clock::now();
  for (;;) {
    const control::TrackBatch batch = TRY(as_device_error(client_.track_read()));
    for (const control::TrackExtent& extent : batch.extents) {
      TRY(send(extent.start, extent.end));
      result.bytes += extent.end - extent.start;
    }
    // Read before the next answer is asked for: what is written after that comes again.
    TRY(send_batch());
    if (batch.round_complete) break;
  }
  result.time = Clock::now() - start;
  return result;
}

/// Until a round is so short that freezing costs next to nothing, or rounds no longer get shorter.
Status Sender::live_rounds(int most) {
  std::optional<std::uint64_t> before;
  for (int n = 1; n <= most; ++n) {
    const Round last = TRY(round());
    log(LogLevel::Detail, "Round {}: {} KiB in {} ms", n, last.bytes / kKiB,
        std::chrono::duration_cast<std::chrono::milliseconds>(last.time).count());
    if (last.time <= kShortRound) return {};
    if (before && n > 2 && last.bytes >= *before) return {};
    before = last.bytes;
  }
  return {};
}

Status Sender::run_stop_command() {
  if (options_.stop_command.empty()) return {};
  // Its output must not end up between packets, and what it leaves running must not keep the stream open.
  std::string script;
  const auto taken = [&](int fd) {
    return options_.sink.feedback == fd || (options_.sink.file.empty() && options_.sink.output == fd);
  };
  if (taken(1)) script += "exec >&2\n";
  if (taken(2)) script += "exec 2>/dev/null\n";
  for (const int fd : {options_.sink.output, options_.sink.feedback}) {
    if (fd > 2) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  RunOptions run;
  run.capture = false;
  const RunResult result = TRY(run_program({"/bin/sh", "-c", script + options_.stop_command}, run));
  if (result.status != 0)
    return fail(ExitCode::System, "Command '" + options_.stop_command + "' failed with status " +
                                      std::to_string(result.status));
  return {};
}

/// What has to reach the device anyway does so before everybody has to wait for it.
Status Sender::settle(const fs::LiveRoot& mounted) {
  if (::syncfs(mounted.fd()) != 0)
    return fail_errno(ExitCode::Fsync, "sync the file system at " + mounted.name());
  return live_rounds(kRoundsBeforeFreeze);
}

/// The first sector once more, now saying that nobody uses the image. Only the in-use mark differs from the
/// source.
Status Sender::send_header() {
  if (raw_) return {};
  const CopySource::Part part{0, kHeaderPage, header_.data()};
  TRY(writer_.drain());
  TRY(source_.read(std::span(&part, 1)));
  const format::Header header = TRY(format::decode_header(header_.span()));
  if (header.is_in_use()) {
    const le32 closed = format::kClosedMark;
    std::memcpy(header_.data() + kInUseOffset, &closed, sizeof closed);
  }
  writer_.current().pieces.push_back({0, header_.span().first(kSectorSize)});
  return writer_.submit();
}

/// Until the device itself says that nothing was written since it was read. The header that is sent is the
/// last one: what changes it afterwards keeps the tracker from stopping.
Status Sender::last_rounds() {
  auto pause = kFirstPause;
  for (int n = 0; n < kFrozenTries; ++n, pause *= 2) {
    TRY(as_device_error(client_.flush()));
    for (int again = 0; again < kFrozenRounds; ++again) {
      const Round last = TRY(round());
      frozen_bytes_ += last.bytes;
      if (last.bytes == 0) break;
    }
    TRY(send_header());
    const Status stopped = as_device_error(client_.track_stop());
    if (stopped) return {};
    if (stopped.error().code != ExitCode::Busy) return stopped;
    std::this_thread::sleep_for(pause);
  }
  return fail(
      ExitCode::Loop,
      "The device is still written to although its file system is frozen: too many iterations, aborting");
}

Status Sender::frozen(const fs::LiveRoot& mounted) {
  const Clock::time_point start = Clock::now();
  fs::Freeze freeze = TRY(fs::Freeze::hold(mounted.fd(), mounted.name(), kFreezeLimit));
  TRY(last_rounds());
  // Everything has been read, and the tracker has said so: the rest of the way concerns only the copy.
  TRY(freeze.thaw());
  log(LogLevel::Detail, "Frozen for {} ms, {} KiB sent meanwhile",
      std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count(),
      frozen_bytes_ / kKiB);
  return {};
}

Status Sender::run(const fs::LiveRoot& mounted) {
  TRY(full_pass());
  TRY(live_rounds(kMaxRounds));
  TRY(writer_.drain());
  TRY(sink_.sync());
  TRY(live_rounds(kRoundsAfterSync));
  TRY(run_stop_command());
  TRY(settle(mounted));
  TRY(stop_if_cancelled());
  TRY(frozen(mounted));
  TRY(writer_.drain());
  return sink_.finish();
}

Result<control::DeviceState> find_running(const std::string& name) {
  const int number = device_number(name);
  if (number >= 0) {
    if (auto device = TRY(control::find_device(number))) return *std::move(device);
  }
  return fail(errno_error(ExitCode::Device, number < 0 ? ENODEV : ENOENT, "Can't open device " + name));
}

/// Held until the end, so that it can't be unmounted meanwhile.
Result<fs::LiveRoot> find_mounted(const control::DeviceState& device, const std::string& name) {
  if (auto root = TRY(mounted_root(device))) return *std::move(root);
  return fail(ExitCode::Open, "Can't find mount point for " + name +
                                  ": its file system is not mounted (of a disk at rest, copy the file)");
}

/// Writing there would wait for the thaw, and the thaw for the write.
Status refuse_target_inside(const CopySinkOptions& sink, const fs::LiveRoot& mounted) {
  struct stat inside {};
  if (::fstat(mounted.fd(), &inside) != 0) return fail_errno(ExitCode::Stat, "look at " + mounted.name());
  struct stat st {};
  const int looked =
      sink.file.empty() ? ::fstat(sink.output, &st) : ::stat(directory_of(sink.file).c_str(), &st);
  const bool stream = S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode);
  if (looked != 0 || stream || st.st_dev != inside.st_dev) return {};
  return fail(ExitCode::Param, "The copy would lie on the disk that is copied; choose another place");
}

}  // namespace

Status copy_send(const CopySendOptions& options) {
  const control::DeviceState device = TRY(find_running(options.device));
  const fs::LiveRoot mounted = TRY(find_mounted(device, options.device));
  TRY(refuse_target_inside(options.sink, mounted));
  const SpaceWatch watch(device);
  const CleanupSection section;
  const auto sink = TRY(open_copy_sink(options.sink));
  control::Client client = TRY(as_device_error(control::Client::connect(device.number)));
  const control::TrackStart start = TRY(as_device_error(client.track_start()));
  const control::DeltaSpec& top = device.deltas.back();
  CopySource source = TRY(CopySource::open(top.path, start.file_device, start.file_inode));
  log_error("Sending {}", top.path);
  Sender sender(options, std::move(client), std::move(source), *sink, start.used_bytes,
                top.kind == control::ImageKind::Raw);
  return sender.run(mounted);
}

}  // namespace ploop::ops
