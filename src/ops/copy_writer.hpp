// Double buffering for a copy: one batch is on its way to the sink, in a thread of its own, while the next
// one is being read.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/aligned_buffer.hpp"
#include "base/result.hpp"
#include "ops/copy_sink.hpp"

namespace ploop::ops {

class CopyWriter {
 public:
  struct Batch {
    AlignedBuffer buffer;
    std::vector<CopyPiece> pieces;  ///< their data lies in `buffer`, or outlives the batch
  };

  /// Two batches of `batch_bytes`. The sink must outlive it.
  CopyWriter(CopySink& sink, std::size_t batch_bytes);
  CopyWriter(const CopyWriter&) = delete;
  CopyWriter& operator=(const CopyWriter&) = delete;
  /// Waits until the thread has let go of the sink; what it still had to do may or may not have been done.
  ~CopyWriter();

  /// The batch to fill. Its pieces are empty and nobody else uses it.
  Batch& current() { return batches_[filling_]; }
  /// Sends the current batch off and waits until the other one may be filled. The first error of the sink
  /// comes back here or from drain(), and then always.
  Status submit();
  /// Everything submitted has been put. From here to the next submit() the sink may be used directly.
  Status drain();

 private:
  void serve();
  Status wait_until_idle(std::unique_lock<std::mutex>& lock);

  CopySink& sink_;
  Batch batches_[2];
  std::size_t filling_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<std::size_t> sending_;  ///< under mutex_
  bool stopping_ = false;               ///< under mutex_
  Status failed_;                       ///< under mutex_
  std::thread thread_;
};

}  // namespace ploop::ops
