#include "ops/copy_receive.hpp"

#include <algorithm>
#include <optional>

#include "base/aligned_buffer.hpp"
#include "base/log.hpp"
#include "format/copy_stream.hpp"
#include "ops/cancel.hpp"
#include "ops/copy_channel.hpp"
#include "ops/copy_file.hpp"

namespace ploop::ops {
namespace {

/// Whatever packets claim, no more memory than this is taken.
constexpr std::size_t kBufferBytes = 1 << 20;

/// Makes everything durable and tells the sender how that went. Our own failure counts more than one of
/// telling it.
Status answer_sync(CopyFile& file, std::optional<CopyChannel>& feedback) {
  const Status synced = file.sync();
  if (!feedback) return synced;
  const std::string_view text = format::feedback_text(synced.has_value());
  const Status told = feedback->write(std::as_bytes(std::span(text)));
  return synced ? told : synced;
}

/// Takes the stream up to and with its end packet.
Status take_stream(CopyChannel& input, CopyFile& file, std::optional<CopyChannel>& feedback) {
  AlignedBuffer buffer(kBufferBytes);
  format::StreamReader reader;
  while (!reader.ended()) {
    const std::span<std::byte> room = buffer.span().first(std::min(buffer.size(), reader.wanted()));
    const std::size_t size = TRY(input.read_some(room));
    if (size == 0) return fail(ExitCode::Read, "The stream ended before the copy was complete");
    const format::StreamReader::Step step = TRY(reader.feed(room.first(size)));
    if (step.event == format::StreamReader::Event::Data) TRY(file.put(step.position, step.data));
    if (step.event == format::StreamReader::Event::Sync) TRY(answer_sync(file, feedback));
  }
  return {};
}

}  // namespace

Status copy_receive(const CopyReceiveOptions& options) {
  CopyChannel input = TRY(CopyChannel::open(options.input, CopyChannel::Direction::Read, "input"));
  std::optional<CopyChannel> feedback;
  if (options.feedback >= 0) {
    feedback.emplace(TRY(CopyChannel::open(options.feedback, CopyChannel::Direction::Write, "feedback")));
  }
  const CleanupSection section;
  CopyFile file = TRY(CopyFile::create(options.file));
  TRY(take_stream(input, file, feedback));
  TRY(file.finish());
  log(LogLevel::Detail, "Received {}", options.file);
  return {};
}

}  // namespace ploop::ops
