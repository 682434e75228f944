#include "format/copy_stream.hpp"

#include <algorithm>
#include <cstring>

#include "base/endian.hpp"

namespace ploop::format {
namespace {

struct RawPacket {
  le32 marker;
  le32 size;
  le64 position;
};
static_assert(sizeof(RawPacket) == kPacketHeaderSize && alignof(RawPacket) == 1);

constexpr std::string_view kSuccess = "SUCCESS\n";
constexpr std::string_view kFailure = "FAILURE\n";
static_assert(kSuccess.size() == kFeedbackSize && kFailure.size() == kFeedbackSize);

}  // namespace

std::array<std::byte, kPacketHeaderSize> encode_packet(const Packet& packet) {
  const RawPacket raw{kCopyMarker, packet.size, packet.position};
  std::array<std::byte, kPacketHeaderSize> bytes{};
  std::memcpy(bytes.data(), &raw, sizeof raw);
  return bytes;
}

Result<Packet> decode_packet(std::span<const std::byte, kPacketHeaderSize> bytes) {
  RawPacket raw;
  std::memcpy(&raw, bytes.data(), sizeof raw);
  if (raw.marker != kCopyMarker)
    return fail(ExitCode::Protocol, "Stream corrupted: a packet has a wrong marker");
  const Packet packet{raw.size == 0              ? PacketKind::End
                      : raw.size == kSyncPayload ? PacketKind::Sync
                                                 : PacketKind::Data,
                      raw.size, raw.position};
  if (packet.size > kMaxPacketPayload)
    return fail(ExitCode::Protocol, "Stream corrupted: a packet is too large");
  if (packet.kind == PacketKind::Data && (packet.position > kMaxCopyPosition - packet.size)) {
    return fail(ExitCode::Protocol, "Stream corrupted: a packet lies beyond any file");
  }
  return packet;
}

std::array<std::byte, kPacketHeaderSize + kSyncPayload> encode_sync() {
  std::array<std::byte, kPacketHeaderSize + kSyncPayload> bytes{};
  const auto header = encode_packet({PacketKind::Sync, kSyncPayload, 0});
  std::ranges::copy(header, bytes.begin());
  std::memcpy(bytes.data() + kPacketHeaderSize, "With", kSyncPayload);
  return bytes;
}

std::uint32_t piece_size(std::uint64_t left, std::uint32_t limit) {
  constexpr std::uint32_t kHalfSync = kSyncPayload / 2;
  if (left == kSyncPayload) return kHalfSync;
  std::uint64_t size = std::min<std::uint64_t>(left, limit);
  if (size == kSyncPayload) size -= kHalfSync;
  // The rest of 4 would be split again; a little less now keeps it in one piece.
  if (left - size == kSyncPayload) size -= kSyncPayload;
  return static_cast<std::uint32_t>(size);
}

std::string_view feedback_text(bool success) {
  return success ? kSuccess : kFailure;
}

Result<bool> decode_feedback(std::string_view text) {
  if (text == kSuccess) return true;
  if (text == kFailure) return false;
  return fail(ExitCode::Protocol, "The receiver answered with something that is no feedback");
}

std::size_t StreamReader::wanted() const {
  if (ended_) return 0;
  if (payload_left_ > 0) return payload_left_;
  return kPacketHeaderSize - header_bytes_;
}

Result<StreamReader::Step> StreamReader::header_complete() {
  header_bytes_ = 0;
  packet_ = TRY(decode_packet(header_));
  payload_left_ = packet_.size;
  ended_ = packet_.kind == PacketKind::End;
  return Step{ended_ ? Event::End : Event::More, 0, {}};
}

Result<StreamReader::Step> StreamReader::feed(std::span<const std::byte> bytes) {
  if (bytes.size() > wanted()) return fail(ExitCode::Protocol, "Stream corrupted: something follows its end");
  if (bytes.empty()) return Step{};
  if (payload_left_ == 0) {
    std::ranges::copy(bytes, header_.begin() + static_cast<std::ptrdiff_t>(header_bytes_));
    header_bytes_ += bytes.size();
    return header_bytes_ == kPacketHeaderSize ? header_complete() : Step{};
  }
  const std::uint64_t position = packet_.position + (packet_.size - payload_left_);
  payload_left_ -= bytes.size();
  if (packet_.kind == PacketKind::Data) return Step{Event::Data, position, bytes};
  return Step{payload_left_ == 0 ? Event::Sync : Event::More, 0, {}};
}

}  // namespace ploop::format
