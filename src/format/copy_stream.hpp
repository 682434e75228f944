// The byte stream of `ploop copy`: packets of 16 bytes and what follows them. See docs/format.md, section 12.
//
//   data   marker, size, position, then `size` bytes of the image file for that position
//   sync   size 4: the receiver makes everything durable and reports (feedback); the four bytes mean nothing
//   end    size 0: the copy is complete
//
// A data packet therefore never has 4 bytes. The stream comes from another machine: nothing in it is trusted,
// and no memory is taken because a packet claims a size.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.hpp"

namespace ploop::format {

inline constexpr std::size_t kPacketHeaderSize = 16;
inline constexpr std::uint32_t kCopyMarker = 0x4CC0AC3D;
inline constexpr std::uint32_t kSyncPayload = 4;
/// Largest payload that is accepted: the largest cluster.
inline constexpr std::uint32_t kMaxPacketPayload = 64u << 20;
/// Positions end where file offsets do.
inline constexpr std::uint64_t kMaxCopyPosition = (std::uint64_t{1} << 63) - 1;

enum class PacketKind : std::uint8_t { Data, Sync, End };

struct Packet {
  PacketKind kind = PacketKind::End;
  std::uint32_t size = 0;      ///< bytes that follow
  std::uint64_t position = 0;  ///< Data: offset in the destination file
  bool operator==(const Packet&) const = default;
};

/// Makes the header of a packet. A data packet's size is neither 0 nor 4; see piece_size().
std::array<std::byte, kPacketHeaderSize> encode_packet(const Packet& packet);
/// ExitCode::Protocol: wrong marker, a payload above kMaxPacketPayload, data beyond kMaxCopyPosition.
Result<Packet> decode_packet(std::span<const std::byte, kPacketHeaderSize> bytes);

/// The sync packet of the original: its payload rewrites the first four bytes of the image with what is
/// there.
std::array<std::byte, kPacketHeaderSize + kSyncPayload> encode_sync();

/// How many of `left` bytes the next data packet takes, at most `limit` (at least 16): all that fit, but
/// neither this piece nor the rest is 4 bytes long. 0 for 0.
std::uint32_t piece_size(std::uint64_t left, std::uint32_t limit);

/// What the receiver says about a sync packet.
inline constexpr std::size_t kFeedbackSize = 8;
std::string_view feedback_text(bool success);
/// True for success; ExitCode::Protocol for anything that is not feedback.
Result<bool> decode_feedback(std::string_view text);

/// Cuts a stream that arrives in pieces of any size. Feed it at most wanted() bytes at a time: then nothing
/// behind the end packet is ever taken, and everything fed belongs to one step.
class StreamReader {
 public:
  enum class Event : std::uint8_t {
    More,  ///< nothing yet
    Data,  ///< `data` belongs to `position`
    Sync,  ///< make everything durable, report
    End,   ///< complete
  };
  struct Step {
    Event event = Event::More;
    std::uint64_t position = 0;
    std::span<const std::byte> data;  ///< part of what was fed
  };

  /// Most bytes that the next feed() takes; 0 after the end.
  [[nodiscard]] std::size_t wanted() const;
  /// ExitCode::Protocol as decode_packet; the reader is of no use afterwards.
  Result<Step> feed(std::span<const std::byte> bytes);
  [[nodiscard]] bool ended() const { return ended_; }

 private:
  Result<Step> header_complete();

  std::array<std::byte, kPacketHeaderSize> header_{};
  std::size_t header_bytes_ = 0;
  Packet packet_;
  std::uint64_t payload_left_ = 0;
  bool ended_ = false;
};

}  // namespace ploop::format
