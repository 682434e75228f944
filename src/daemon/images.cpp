#include "daemon/images.hpp"

#include <chrono>
#include <memory>
#include <thread>
#include <utility>

#include "control/json.hpp"
#include "io/posix_file.hpp"

namespace ploop::daemon {
namespace {

using Clock = std::chrono::steady_clock;

/// How long the last operations of a dead worker may take; and when it is not known that somebody has died.
constexpr auto kLastIoTimeout = std::chrono::seconds(60);
constexpr auto kUsualTimeout = std::chrono::seconds(2);
constexpr auto kRetryPause = std::chrono::milliseconds(5);

/// Tries until the deadline, at least once.
Status lock(io::PosixFile& file, io::LockKind kind, Clock::time_point deadline, FileSource& files) {
  while (!TRY(file.try_lock(kind))) {
    if (Clock::now() >= deadline) return fail(files.busy(file.name()));
    std::this_thread::sleep_for(kRetryPause);
  }
  return {};
}

/// No deadline: not locked.
Result<image::Delta> open_until(FileSource& files, const control::DeltaSpec& delta,
                                std::uint32_t raw_cluster_sectors, std::optional<Clock::time_point> deadline,
                                FileRole role) {
  std::unique_ptr<io::PosixFile> file = TRY(files.open(delta.path, !delta.read_only, true, role));
  if (deadline)
    TRY(lock(*file, delta.read_only ? io::LockKind::Shared : io::LockKind::Exclusive, *deadline, files));
  image::OpenOptions understand;
  understand.writable = !delta.read_only;
  // What a crash left is sound without repair: the command decides whether the mark matters.
  understand.allow_in_use = true;
  understand.raw_cluster_sectors = raw_cluster_sectors;
  const image::Kind kind = delta.kind == control::ImageKind::Raw ? image::Kind::Raw : image::Kind::Ploop1;
  return image::Delta::open(std::move(file), kind, understand);
}

}  // namespace

Result<image::Delta> open_image(FileSource& files, const control::DeltaSpec& delta,
                                std::uint32_t raw_cluster_sectors, FileRole role) {
  return open_until(files, delta, raw_cluster_sectors, Clock::now(), role);
}

Result<std::vector<image::Delta>> open_images(FileSource& files, const control::AttachSpec& spec,
                                              Locked locked, std::optional<std::size_t> lent) {
  const Clock::time_point deadline = Clock::now() + (locked == Locked::Wait ? kLastIoTimeout : kUsualTimeout);
  std::vector<image::Delta> deltas;
  deltas.reserve(spec.deltas.size());
  for (const control::DeltaSpec& delta : spec.deltas) {
    const bool unlocked = lent == deltas.size() && delta.read_only;
    const auto until = unlocked ? std::nullopt : std::optional(deadline);
    deltas.push_back(TRY(open_until(files, delta, spec.raw_cluster_sectors, until, FileRole::Level)));
  }
  return deltas;
}

Result<std::size_t> lent_level(const Message& message) {
  const control::Json json = TRY(control::parse_object(message.body, message.name));
  return TRY(control::number_field<std::uint32_t>(json, "level"));
}

}  // namespace ploop::daemon
