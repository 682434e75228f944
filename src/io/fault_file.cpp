// The rules of injected failures and the file that obeys them.
#include "io/fault_file.hpp"

#include "base/units.hpp"

namespace ploop::io {

FaultPlan::Verdict FaultPlan::next(OpKind kind) {
  ++calls_;
  Verdict verdict;
  for (Rule& rule : rules_) {
    if (rule.fault.kind && *rule.fault.kind != kind) continue;
    const std::uint64_t call = rule.seen++;
    if (verdict.error != 0 || call < rule.fault.first) continue;
    if (rule.fault.times != Fault::kForEver && call - rule.fault.first >= rule.fault.times) continue;
    verdict = {rule.fault.error, rule.fault.half_done};
  }
  if (verdict.error != 0) ++injected_;
  return verdict;
}

std::int64_t FaultFile::read(std::span<std::byte> data, std::uint64_t offset) {
  const auto verdict = plan_.next(OpKind::Read);
  return verdict.error != 0 ? -verdict.error : inner_->read(data, offset);
}

std::int64_t FaultFile::write(std::span<const std::byte> data, std::uint64_t offset) {
  const auto verdict = plan_.next(OpKind::Write);
  if (verdict.error == 0) return inner_->write(data, offset);
  const auto half = static_cast<std::size_t>(round_down(data.size() / 2, kSectorSize));
  if (verdict.half_done && half != 0) {
    const std::int64_t written = inner_->write(data.first(half), offset);
    if (written < 0) return written;
  }
  return -verdict.error;
}

int FaultFile::sync() {
  const auto verdict = plan_.next(OpKind::Sync);
  return verdict.error != 0 ? -verdict.error : inner_->sync();
}

int FaultFile::truncate(std::uint64_t size) {
  const auto verdict = plan_.next(OpKind::Truncate);
  return verdict.error != 0 ? -verdict.error : inner_->truncate(size);
}

int FaultFile::allocate(std::uint64_t offset, std::uint64_t length) {
  const auto verdict = plan_.next(OpKind::Allocate);
  return verdict.error != 0 ? -verdict.error : inner_->allocate(offset, length);
}

int FaultFile::punch(std::uint64_t offset, std::uint64_t length) {
  const auto verdict = plan_.next(OpKind::Punch);
  return verdict.error != 0 ? -verdict.error : inner_->punch(offset, length);
}

int FaultFile::clone(BlockFile& source, std::uint64_t source_offset, std::uint64_t offset,
                     std::uint64_t length) {
  const auto verdict = plan_.next(OpKind::Clone);
  return verdict.error != 0 ? -verdict.error : inner_->clone(source, source_offset, offset, length);
}

}  // namespace ploop::io
