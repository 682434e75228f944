#include "ops/copy_sink.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <deque>
#include <optional>
#include <thread>
#include <vector>

#include "format/copy_stream.hpp"
#include "ops/cancel.hpp"
#include "ops/copy_channel.hpp"
#include "ops/copy_file.hpp"

namespace ploop::ops {
namespace {

/// Pieces of the original are clusters of at most this size by default.
constexpr std::uint32_t kMaxPayload = 1 << 20;
/// What a receiver that can't answer gets for making its part durable, as in the original.
constexpr auto kBlindSyncTime = std::chrono::seconds(5);

/// A new file, complete or absent.
class NewFile final : public CopySink {
 public:
  explicit NewFile(CopyFile file) : file_(std::move(file)) {}
  Status put(std::span<const CopyPiece> pieces) override {
    for (const CopyPiece& piece : pieces)
      TRY(file_.put(piece.position, piece.data));
    return {};
  }
  Status sync() override { return file_.sync(); }
  Status finish() override { return file_.finish(); }

 private:
  CopyFile file_;
};

/// A regular file that belongs to the caller; nobody else knows its name, so it can't be removed on failure.
class OpenFile final : public CopySink {
 public:
  explicit OpenFile(int fd) : fd_(fd), name_("the output fd " + std::to_string(fd)) {}
  Status put(std::span<const CopyPiece> pieces) override {
    for (const CopyPiece& piece : pieces) {
      TRY(write_at(fd_, piece.data, piece.position, name_));
      length_ = std::max(length_, piece.position + piece.data.size());
    }
    return {};
  }
  Status sync() override {
    if (::fdatasync(fd_) != 0) return fail_errno(ExitCode::Write, "make " + name_ + " durable");
    return {};
  }
  Status finish() override {
    // What the file held before does not belong to the image.
    if (::ftruncate(fd_, static_cast<off_t>(length_)) != 0)
      return fail_errno(ExitCode::Write, "set the length of " + name_);
    if (::fsync(fd_) != 0) return fail_errno(ExitCode::Write, "make " + name_ + " durable");
    return {};
  }

 private:
  int fd_;
  std::string name_;
  std::uint64_t length_ = 0;
};

class Stream final : public CopySink {
 public:
  Stream(CopyChannel output, std::optional<CopyChannel> feedback)
      : output_(std::move(output)), feedback_(std::move(feedback)) {}

  Status put(std::span<const CopyPiece> pieces) override {
    headers_.clear();
    vectors_.clear();
    for (CopyPiece piece : pieces) {
      while (!piece.data.empty()) {
        const std::uint32_t size = format::piece_size(piece.data.size(), kMaxPayload);
        add({format::PacketKind::Data, size, piece.position}, piece.data.first(size));
        piece.position += size;
        piece.data = piece.data.subspan(size);
      }
    }
    return output_.write(std::span(vectors_));
  }

  Status sync() override {
    TRY(output_.write(format::encode_sync()));
    if (!feedback_) return wait_blindly();
    std::array<char, format::kFeedbackSize> text{};
    const auto heard = feedback_->read_full(std::as_writable_bytes(std::span(text)));
    if (!heard) return fail(as_protocol(heard.error()));
    const bool success = TRY(format::decode_feedback({text.data(), *heard}));
    if (!success) return fail(ExitCode::Fsync, "The receiver could not make its part of the copy durable");
    return {};
  }

  Status finish() override { return output_.write(format::encode_packet({format::PacketKind::End, 0, 0})); }

 private:
  void add(const format::Packet& packet, std::span<const std::byte> data) {
    headers_.push_back(format::encode_packet(packet));  // a deque: what is in it stays where it is
    vectors_.push_back({headers_.back().data(), headers_.back().size()});
    vectors_.push_back({const_cast<std::byte*>(data.data()), data.size()});
  }

  static Error as_protocol(Error error) {
    if (error.code == ExitCode::Read) error.code = ExitCode::Protocol;
    return error;
  }

  static Status wait_blindly() {
    const auto end = std::chrono::steady_clock::now() + kBlindSyncTime;
    while (std::chrono::steady_clock::now() < end) {
      TRY(stop_if_cancelled());
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return {};
  }

  CopyChannel output_;
  std::optional<CopyChannel> feedback_;
  std::deque<std::array<std::byte, format::kPacketHeaderSize>> headers_;
  std::vector<iovec> vectors_;
};

Result<std::unique_ptr<CopySink>> open_output_file(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY || (flags & O_APPEND) != 0) {
    return fail(ExitCode::Param, "Invalid output fd " + std::to_string(fd) +
                                     ": the file must be open for writing, not for appending");
  }
  return std::make_unique<OpenFile>(fd);
}

}  // namespace

Result<std::unique_ptr<CopySink>> open_copy_sink(const CopySinkOptions& options) {
  std::optional<CopyChannel> feedback;
  if (options.feedback >= 0) {
    feedback.emplace(TRY(CopyChannel::open(options.feedback, CopyChannel::Direction::Read, "feedback")));
  }
  if (!options.file.empty()) return std::make_unique<NewFile>(TRY(CopyFile::create(options.file)));
  switch (descriptor_kind(options.output)) {
    case DescriptorKind::File:
      return open_output_file(options.output);
    case DescriptorKind::Pipe:
    case DescriptorKind::Socket: {
      CopyChannel output = TRY(CopyChannel::open(options.output, CopyChannel::Direction::Write, "output"));
      return std::make_unique<Stream>(std::move(output), std::move(feedback));
    }
    case DescriptorKind::Other:
      break;
  }
  return fail(ExitCode::Param,
              "Invalid output fd " + std::to_string(options.output) + ": must be a file, a pipe or a socket");
}

}  // namespace ploop::ops
