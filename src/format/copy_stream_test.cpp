// The stream of `ploop copy`: the published examples byte for byte, and everything a peer can send that is
// not a stream.
#include "format/copy_stream.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace ploop::format {
namespace {

std::vector<std::byte> from_hex(std::string_view text) {
  std::vector<std::byte> bytes;
  std::string digits;
  for (const char c : text) {
    if (c == ' ') continue;
    digits += c;
    if (digits.size() < 2) continue;
    bytes.push_back(static_cast<std::byte>(std::stoi(digits, nullptr, 16)));
    digits.clear();
  }
  return bytes;
}

template <std::size_t N>
std::vector<std::byte> to_vector(const std::array<std::byte, N>& bytes) {
  return {bytes.begin(), bytes.end()};
}

Result<Packet> decode(const std::vector<std::byte>& bytes) {
  return decode_packet(std::span<const std::byte, kPacketHeaderSize>(bytes.data(), kPacketHeaderSize));
}

struct Example {
  const char* name;
  Packet packet;
  const char* hex;
};
void PrintTo(const Example& row, std::ostream* out) {
  *out << row.name;
}
class PacketExample : public testing::TestWithParam<Example> {};

TEST_P(PacketExample, IsTheOriginalsBytesInBothDirections) {
  const Example& row = GetParam();
  EXPECT_EQ(to_vector(encode_packet(row.packet)), from_hex(row.hex));
  const auto decoded = decode(from_hex(row.hex));
  ASSERT_TRUE(decoded) << decoded.error().message();
  EXPECT_EQ(*decoded, row.packet);
}

INSTANTIATE_TEST_SUITE_P(
    CopyStream, PacketExample,
    testing::Values(
        Example{
            "data_at_0", {PacketKind::Data, 1 << 20, 0}, "3d ac c0 4c 00 00 10 00 00 00 00 00 00 00 00 00"},
        Example{"data_at_5_MiB",
                {PacketKind::Data, 1 << 20, 5 << 20},
                "3d ac c0 4c 00 00 10 00 00 00 50 00 00 00 00 00"},
        Example{
            "final_header", {PacketKind::Data, 512, 0}, "3d ac c0 4c 00 02 00 00 00 00 00 00 00 00 00 00"},
        Example{"sync", {PacketKind::Sync, 4, 0}, "3d ac c0 4c 04 00 00 00 00 00 00 00 00 00 00 00"},
        Example{"end", {PacketKind::End, 0, 0}, "3d ac c0 4c 00 00 00 00 00 00 00 00 00 00 00 00"},
        Example{
            "largest", {PacketKind::Data, 64 << 20, 0}, "3d ac c0 4c 00 00 00 04 00 00 00 00 00 00 00 00"},
        Example{"last_position",
                {PacketKind::Data, 1, (1ull << 63) - 2},
                "3d ac c0 4c 01 00 00 00 fe ff ff ff ff ff ff 7f"}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(SyncPacket, CarriesTheFirstFourBytesOfEveryImage) {
  EXPECT_EQ(to_vector(encode_sync()),
            from_hex("3d ac c0 4c 04 00 00 00 00 00 00 00 00 00 00 00 57 69 74 68"));
}

struct Damage {
  const char* name;
  const char* hex;
};
void PrintTo(const Damage& row, std::ostream* out) {
  *out << row.name;
}
class DamagedPacket : public testing::TestWithParam<Damage> {};

TEST_P(DamagedPacket, IsRefused) {
  const auto decoded = decode(from_hex(GetParam().hex));
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code, ExitCode::Protocol);
  EXPECT_NE(decoded.error().what.find("Stream corrupted"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    CopyStream, DamagedPacket,
    testing::Values(Damage{"later_generation", "3e ac c0 4c 00 00 10 00 00 00 00 00 00 00 00 00"},
                    Damage{"big_endian", "4c c0 ac 3d 00 00 10 00 00 00 00 00 00 00 00 00"},
                    Damage{"zeros", "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"},
                    Damage{"one_above_the_largest", "3d ac c0 4c 01 00 00 04 00 00 00 00 00 00 00 00"},
                    Damage{"size_4_GiB_less_1", "3d ac c0 4c ff ff ff ff 00 00 00 00 00 00 00 00"},
                    Damage{"ends_behind_every_file", "3d ac c0 4c 02 00 00 00 fe ff ff ff ff ff ff 7f"},
                    Damage{"negative_position", "3d ac c0 4c 00 02 00 00 00 00 00 00 00 00 00 80"},
                    Damage{"position_wraps", "3d ac c0 4c 00 02 00 00 ff ff ff ff ff ff ff ff"}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(Feedback, IsOneOfTwoWords) {
  EXPECT_EQ(feedback_text(true), "SUCCESS\n");
  EXPECT_EQ(feedback_text(false), "FAILURE\n");
  EXPECT_TRUE(decode_feedback("SUCCESS\n").value());
  EXPECT_FALSE(decode_feedback("FAILURE\n").value());
  for (const char* wrong : {"", "SUCCESS", "success\n", "SUCCESS\r", "FAILURE\nx"}) {
    const auto decoded = decode_feedback(wrong);
    ASSERT_FALSE(decoded) << wrong;
    EXPECT_EQ(decoded.error().code, ExitCode::Protocol);
  }
}

TEST(PieceSize, NeverGivesAFourByteDataPacket) {
  for (const std::uint32_t limit : {16u, 20u, 512u, 4096u}) {
    for (std::uint64_t total = 0; total < 3 * limit + 20; ++total) {
      std::uint64_t left = total;
      while (left > 0) {
        const std::uint32_t piece = piece_size(left, limit);
        ASSERT_GT(piece, 0u) << total;
        ASSERT_LE(piece, limit);
        ASSERT_NE(piece, kSyncPayload) << total << " with at most " << limit;
        ASSERT_LE(piece, left);
        left -= piece;
      }
    }
  }
  EXPECT_EQ(piece_size(1u << 20, 1u << 20), 1u << 20) << "whole pieces stay whole";
}

// ------------------------------------------------------------------------------------------------ whole
// streams

void append(std::vector<std::byte>& stream, std::span<const std::byte> bytes) {
  stream.insert(stream.end(), bytes.begin(), bytes.end());
}

std::vector<std::byte> sample_stream() {
  std::vector<std::byte> stream;
  append(stream, encode_packet({PacketKind::Data, 600, 1000}));
  for (int i = 0; i < 600; ++i)
    stream.push_back(static_cast<std::byte>(i));
  append(stream, encode_sync());
  append(stream, encode_packet({PacketKind::Data, 1, 7}));
  stream.push_back(std::byte{0xAA});
  append(stream, encode_packet({PacketKind::End, 0, 0}));
  return stream;
}

/// What a stream did to a file.
struct Outcome {
  std::vector<std::byte> file = std::vector<std::byte>(2000);
  int syncs = 0;
  bool ended = false;
  bool refused = false;
  std::size_t taken = 0;
};

/// Feeds pieces of at most `step` bytes, as much as the reader wants.
Outcome play(std::span<const std::byte> stream, std::size_t step) {
  Outcome outcome;
  StreamReader reader;
  while (outcome.taken < stream.size() && !reader.ended()) {
    const std::size_t size = std::min({step, reader.wanted(), stream.size() - outcome.taken});
    const auto got = reader.feed(stream.subspan(outcome.taken, size));
    if (!got) {
      outcome.refused = true;
      return outcome;
    }
    outcome.taken += size;
    if (got->event == StreamReader::Event::Sync) ++outcome.syncs;
    if (got->event == StreamReader::Event::End) outcome.ended = true;
    if (got->event == StreamReader::Event::Data && got->position + got->data.size() <= outcome.file.size()) {
      std::memcpy(outcome.file.data() + got->position, got->data.data(), got->data.size());
    }
  }
  return outcome;
}

TEST(StreamReader, GivesTheSameForPiecesOfAnySize) {
  const std::vector<std::byte> stream = sample_stream();
  const Outcome whole = play(stream, stream.size());
  EXPECT_TRUE(whole.ended);
  EXPECT_EQ(whole.syncs, 1);
  EXPECT_EQ(whole.file[1000 + 599], static_cast<std::byte>(599 & 255));
  EXPECT_EQ(whole.file[7], std::byte{0xAA});
  for (std::size_t step = 1; step < 40; ++step) {
    const Outcome outcome = play(stream, step);
    EXPECT_TRUE(outcome.ended);
    EXPECT_EQ(outcome.syncs, 1);
    EXPECT_EQ(outcome.file, whole.file) << step;
  }
}

TEST(StreamReader, NeverEndsWhenTheStreamIsCutAnywhere) {
  const std::vector<std::byte> stream = sample_stream();
  for (std::size_t cut = 0; cut < stream.size(); ++cut) {
    for (const std::size_t step : {std::size_t{1}, stream.size()}) {
      const Outcome outcome = play(std::span(stream).first(cut), step);
      EXPECT_FALSE(outcome.ended) << cut;
      EXPECT_FALSE(outcome.refused) << cut;
    }
  }
}

TEST(StreamReader, LeavesAloneWhatFollowsTheEnd) {
  std::vector<std::byte> stream = sample_stream();
  const std::size_t size = stream.size();
  stream.resize(size + 100);
  const Outcome outcome = play(stream, stream.size());
  EXPECT_TRUE(outcome.ended);
  EXPECT_EQ(outcome.taken, size);
  StreamReader reader;
  ASSERT_TRUE(reader.feed(encode_packet({PacketKind::End, 0, 0})));
  EXPECT_EQ(reader.wanted(), 0u);
  EXPECT_FALSE(reader.feed(std::span(stream).first(1)));
}

TEST(StreamReader, NoticesEveryDamageOfAMarker) {
  const std::vector<std::byte> stream = sample_stream();
  const std::size_t markers[] = {0, 616, 636, 653};
  for (const std::size_t marker : markers) {
    for (std::size_t byte = 0; byte < 4; ++byte) {
      for (int bit = 0; bit < 8; ++bit) {
        std::vector<std::byte> damaged = stream;
        damaged[marker + byte] ^= static_cast<std::byte>(1 << bit);
        const Outcome outcome = play(damaged, 64);
        EXPECT_TRUE(outcome.refused) << marker + byte;
        EXPECT_FALSE(outcome.ended);
      }
    }
  }
}

}  // namespace
}  // namespace ploop::format
