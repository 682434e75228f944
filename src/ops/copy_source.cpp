#include "ops/copy_source.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/aligned_buffer.hpp"
#include "base/units.hpp"

namespace ploop::ops {
namespace {

constexpr std::size_t kReadsAtATime = 64;

/// Counts the reads of a group; the first error stays.
struct Group {
  std::size_t running = 0;
  int error = 0;
  bool too_short = false;
};

struct OneRead : io::Completion {
  Group* group = nullptr;
  std::uint64_t wanted = 0;
  static void done(io::Completion* c) {
    auto& self = *static_cast<OneRead*>(c);
    --self.group->running;
    if (self.result < 0) self.group->error = -self.result;
    if (self.result >= 0 && static_cast<std::uint64_t>(self.result) < self.wanted)
      self.group->too_short = true;
  }
};

}  // namespace

CopySource::CopySource(std::unique_ptr<io::PosixFile> file, std::unique_ptr<io::UringRing> ring)
    : file_(std::move(file)), ring_(std::move(ring)) {}

Result<CopySource> CopySource::open(const std::string& path, std::uint64_t device, std::uint64_t inode) {
  auto file = TRY(io::PosixFile::open(path, {.writable = false, .direct = true}));
  struct stat st {};
  if (::fstat(file->native_handle(), &st) != 0) return fail_errno(ExitCode::Open, "look at " + path);
  if (st.st_dev != device || st.st_ino != inode) {
    return fail(ExitCode::Open,
                path + " is not the file that the device uses any more: it was renamed or replaced");
  }
  auto ring = TRY(io::UringRing::create(kReadsAtATime));
  return CopySource(std::move(file), std::move(ring));
}

/// Direct I/O knows whole sectors only. What is left of a raw file behind its last whole sector belongs to no
/// device and never changes, so the page cache is right about it.
Status CopySource::read_tail(const Part& part) {
  const std::uint64_t whole = round_down(part.size, kSectorSize);
  if (whole == part.size) return {};
  return io::read_exact(*file_, {part.memory + whole, part.size - whole}, part.position + whole,
                        "the end of the file");
}

Status CopySource::read(std::span<const Part> parts) {
  Group group;
  std::array<OneRead, kReadsAtATime> reads;
  while (!parts.empty() && group.error == 0) {
    const std::size_t count = std::min(parts.size(), reads.size());
    for (std::size_t i = 0; i < count; ++i) {
      const Part& part = parts[i];
      reads[i].group = &group;
      reads[i].wanted = round_down(part.size, kSectorSize);
      reads[i].finished = &OneRead::done;
      ++group.running;
      const io::Op op{io::OpKind::Read, file_.get(), nullptr, part.memory, part.position, reads[i].wanted, 0};
      if (op.length == 0) {
        --group.running;
        continue;
      }
      if (ring_->submit(op, &reads[i])) OneRead::done(&reads[i]);
    }
    while (group.running > 0)
      ring_->run_once(true);
    for (const Part& part : parts.first(count))
      TRY(read_tail(part));
    parts = parts.subspan(count);
  }
  if (group.error != 0) return fail(errno_error(ExitCode::Read, group.error, "read " + name()));
  if (group.too_short) return fail(ExitCode::Read, "read " + name() + ": unexpected end of the file");
  return {};
}

}  // namespace ploop::ops
