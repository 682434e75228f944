// A stream of `ploop copy` as a receiver gets it. Whatever the bytes are: nothing is taken behind the end,
// data lies inside any file, packets survive being encoded again, and the result does not depend on how the
// stream was cut on its way.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "format/copy_stream.hpp"
#include "require.hpp"

namespace {

using namespace ploop::format;

struct Trace {
  std::uint64_t data_bytes = 0;
  std::uint64_t sum = 0;
  std::uint64_t syncs = 0;
  bool ended = false;
  bool refused = false;
  bool operator==(const Trace&) const = default;
};

void take(Trace& trace, const StreamReader::Step& step, std::size_t fed) {
  switch (step.event) {
    case StreamReader::Event::More:
      break;
    case StreamReader::Event::Sync:
      ++trace.syncs;
      break;
    case StreamReader::Event::End:
      trace.ended = true;
      break;
    case StreamReader::Event::Data:
      REQUIRE(step.data.size() == fed);
      REQUIRE(step.position <= kMaxCopyPosition && step.data.size() <= kMaxCopyPosition - step.position);
      trace.data_bytes += step.data.size();
      for (std::size_t i = 0; i < step.data.size(); ++i) {
        trace.sum += (step.position + i + 1) * (std::to_integer<std::uint64_t>(step.data[i]) + 1);
      }
      break;
  }
}

Trace replay(std::span<const std::byte> stream, std::size_t step) {
  Trace trace;
  StreamReader reader;
  std::size_t at = 0;
  while (at < stream.size() && !reader.ended()) {
    REQUIRE(reader.wanted() > 0 && reader.wanted() <= kMaxPacketPayload);
    const std::size_t size = std::min({step, reader.wanted(), stream.size() - at});
    const auto got = reader.feed(stream.subspan(at, size));
    if (!got) {
      REQUIRE(got.error().code == ploop::ExitCode::Protocol);
      trace.refused = true;
      return trace;
    }
    take(trace, *got, size);
    at += size;
  }
  if (reader.ended()) REQUIRE(reader.wanted() == 0);
  return trace;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  std::vector<std::byte> stream(size - 1);
  if (!stream.empty()) std::memcpy(stream.data(), data + 1, stream.size());
  const Trace whole = replay(stream, std::max<std::size_t>(1, stream.size()));
  REQUIRE(whole == replay(stream, 1 + data[0]));
  // One byte less than a stream that ended is a stream that did not.
  if (whole.ended) {
    StreamReader reader;
    std::size_t at = 0;
    while (!reader.ended()) {
      const std::size_t step = std::min(reader.wanted(), stream.size() - at);
      REQUIRE(reader.feed(std::span(stream).subspan(at, step)).has_value());
      at += step;
    }
    REQUIRE(!replay(std::span(stream).first(at - 1), at).ended);
  }
  if (stream.size() >= kPacketHeaderSize) {
    const auto head = std::span<const std::byte, kPacketHeaderSize>(stream.data(), kPacketHeaderSize);
    if (const auto packet = decode_packet(head)) {
      const auto again = encode_packet(*packet);
      REQUIRE(std::equal(again.begin(), again.end(), head.begin()));
    }
  }
  return 0;
}
