#include "ops/copy_writer.hpp"

namespace ploop::ops {

CopyWriter::CopyWriter(CopySink& sink, std::size_t batch_bytes) : sink_(sink) {
  for (Batch& batch : batches_)
    batch.buffer = AlignedBuffer(batch_bytes);
  thread_ = std::thread([this] { serve(); });
}

CopyWriter::~CopyWriter() {
  {
    const std::lock_guard guard(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void CopyWriter::serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return sending_.has_value() || stopping_; });
    if (!sending_) return;
    const std::vector<CopyPiece>& pieces = batches_[*sending_].pieces;
    lock.unlock();
    Status put = sink_.put(pieces);
    lock.lock();
    if (!put && failed_) failed_ = std::move(put);
    sending_.reset();
    changed_.notify_all();
    if (stopping_) return;
  }
}

Status CopyWriter::wait_until_idle(std::unique_lock<std::mutex>& lock) {
  changed_.wait(lock, [this] { return !sending_.has_value(); });
  return failed_;
}

Status CopyWriter::submit() {
  std::unique_lock lock(mutex_);
  TRY(wait_until_idle(lock));
  sending_ = filling_;
  filling_ = 1 - filling_;
  batches_[filling_].pieces.clear();
  lock.unlock();
  changed_.notify_all();
  return {};
}

Status CopyWriter::drain() {
  std::unique_lock lock(mutex_);
  return wait_until_idle(lock);
}

}  // namespace ploop::ops
