// A recording file as the engine gets it: the device owns the handle, the test keeps the file.
#pragma once

#include <memory>

#include "io/forwarding_file.hpp"
#include "io/recording_file.hpp"

namespace ploop::crash {

/// What the device owns: every call goes to the recording file, which outlives the device.
class Handle final : public io::ForwardingFile<io::StagedFile> {
 public:
  explicit Handle(io::RecordingFile& file) : ForwardingFile(file), file_(file) {}
  std::uint64_t begin(const io::Op& op) override { return file_.begin(op); }
  int finish(std::uint64_t token) override { return file_.finish(token); }
  int finish_failed(std::uint64_t token, int error, std::uint64_t live_bytes) override {
    return file_.finish_failed(token, error, live_bytes);
  }

 private:
  io::RecordingFile& file_;
};

}  // namespace ploop::crash
