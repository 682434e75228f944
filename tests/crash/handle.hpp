// A recording file as the engine gets it: the device owns the handle, the test keeps the file.
#pragma once

#include <memory>

#include "io/recording_file.hpp"

namespace ploop::crash {

/// What the device owns: every call goes to the recording file, which outlives the device.
class Handle final : public io::StagedFile {
 public:
  explicit Handle(io::RecordingFile& file) : file_(file) {}
  std::int64_t read(std::span<std::byte> data, std::uint64_t offset) override {
    return file_.read(data, offset);
  }
  std::int64_t write(std::span<const std::byte> data, std::uint64_t offset) override {
    return file_.write(data, offset);
  }
  int sync() override { return file_.sync(); }
  int truncate(std::uint64_t size) override { return file_.truncate(size); }
  int allocate(std::uint64_t offset, std::uint64_t length) override { return file_.allocate(offset, length); }
  int punch(std::uint64_t offset, std::uint64_t length) override { return file_.punch(offset, length); }
  int clone(io::BlockFile& source, std::uint64_t source_offset, std::uint64_t offset,
            std::uint64_t length) override {
    return file_.clone(source, source_offset, offset, length);
  }
  std::int64_t size() override { return file_.size(); }
  [[nodiscard]] const std::string& name() const override { return file_.name(); }
  std::uint64_t begin(const io::Op& op) override { return file_.begin(op); }
  int finish(std::uint64_t token) override { return file_.finish(token); }
  int finish_failed(std::uint64_t token, int error, std::uint64_t live_bytes) override {
    return file_.finish_failed(token, error, live_bytes);
  }

 private:
  io::RecordingFile& file_;
};

}  // namespace ploop::crash
