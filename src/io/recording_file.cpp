// The recording file: every call becomes an entry of the disk's log.
#include "io/recording_file.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/units.hpp"

namespace ploop::io {

RecordingFile::RecordingFile(SimDisk& disk, std::unique_ptr<MemoryFile> content)
    : disk_(disk), content_(std::move(content)), number_(disk.files_++) {}

std::uint64_t RecordingFile::begin(const Op& op) {
  Recorded entry;
  entry.kind = op.kind;
  entry.file = number_;
  entry.offset = op.offset;
  entry.length = op.length;
  entry.size_before = static_cast<std::uint64_t>(content_->size());
  entry.submitted = disk_.tick();
  const std::uint64_t token = disk_.log_.size();
  if (op.kind == OpKind::Write) entry.data.assign(op.data, op.data + op.length);
  if (op.kind == OpKind::Clone) {
    clone_sources_.push_back({token, op.source, op.source_offset});
    entry.data.resize(op.length);
    const std::int64_t got = op.source->read(entry.data, op.source_offset);
    entry.data.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  }
  disk_.log_.push_back(std::move(entry));
  return token;
}

int RecordingFile::finish(std::uint64_t token) {
  Recorded& entry = disk_.log_[token];
  entry.size_before = static_cast<std::uint64_t>(content_->size());
  switch (entry.kind) {
    case OpKind::Read:
      entry.result = -EINVAL;
      break;
    case OpKind::Write:
      entry.result = static_cast<int>(content_->write(entry.data, entry.offset));
      break;
    case OpKind::Sync:
      entry.result = content_->sync();
      break;
    case OpKind::Allocate:
      entry.result = content_->allocate(entry.offset, entry.length);
      break;
    case OpKind::Punch:
      entry.result = content_->punch(entry.offset, entry.length);
      break;
    case OpKind::Truncate:
      entry.result = content_->truncate(entry.length);
      break;
    case OpKind::Clone: {
      const auto source = std::find_if(clone_sources_.begin(), clone_sources_.end(),
                                       [token](const CloneSource& c) { return c.token == token; });
      entry.result = content_->clone(*source->file, source->offset, entry.offset, entry.length);
      clone_sources_.erase(source);
      break;
    }
  }
  entry.completed = disk_.tick();
  return entry.result;
}

int RecordingFile::finish_failed(std::uint64_t token, int error, std::uint64_t live_bytes) {
  Recorded& entry = disk_.log_[token];
  entry.size_before = static_cast<std::uint64_t>(content_->size());
  if (live_bytes != 0) content_->write(std::span(entry.data).first(live_bytes), entry.offset);
  entry.result = -error;
  entry.completed = disk_.tick();
  std::erase_if(clone_sources_, [token](const CloneSource& c) { return c.token == token; });
  return -error;
}

int RecordingFile::run_now(const Op& op) {
  const std::uint64_t token = begin(op);
  const auto verdict = faults_ != nullptr ? faults_->next(op.kind) : FaultPlan::Verdict{};
  if (verdict.error == 0) return finish(token);
  const std::uint64_t half =
      op.kind == OpKind::Write && verdict.half_done ? round_down(op.length / 2, kSectorSize) : 0;
  return finish_failed(token, verdict.error, half);
}

std::int64_t RecordingFile::read(std::span<std::byte> data, std::uint64_t offset) {
  const auto verdict = faults_ != nullptr ? faults_->next(OpKind::Read) : FaultPlan::Verdict{};
  return verdict.error != 0 ? -verdict.error : content_->read(data, offset);
}

std::int64_t RecordingFile::write(std::span<const std::byte> data, std::uint64_t offset) {
  Op op;
  op.kind = OpKind::Write;
  op.data = const_cast<std::byte*>(data.data());  // only read from
  op.offset = offset;
  op.length = data.size();
  return run_now(op);
}

int RecordingFile::sync() {
  Op op;
  op.kind = OpKind::Sync;
  return run_now(op);
}

int RecordingFile::truncate(std::uint64_t size) {
  Op op;
  op.kind = OpKind::Truncate;
  op.length = size;
  return run_now(op);
}

int RecordingFile::allocate(std::uint64_t offset, std::uint64_t length) {
  Op op;
  op.kind = OpKind::Allocate;
  op.offset = offset;
  op.length = length;
  return run_now(op);
}

int RecordingFile::punch(std::uint64_t offset, std::uint64_t length) {
  Op op;
  op.kind = OpKind::Punch;
  op.offset = offset;
  op.length = length;
  return run_now(op);
}

int RecordingFile::clone(BlockFile& source, std::uint64_t source_offset, std::uint64_t offset,
                         std::uint64_t length) {
  Op op;
  op.kind = OpKind::Clone;
  op.source = &source;
  op.source_offset = source_offset;
  op.offset = offset;
  op.length = length;
  return run_now(op);
}

}  // namespace ploop::io
