// The per-sector set of legal values.
#include "oracle.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace ploop::crash {

std::string describe_sector(const std::byte* sector_bytes) {
  std::uint64_t words[2];
  std::memcpy(words, sector_bytes, sizeof(words));
  if (sector_bytes[0] == kPoison) return "poison of unwritten space";
  const bool uniform = std::memcmp(sector_bytes, sector_bytes + 16, 512 - 16) == 0;
  const char* const torn = uniform ? "" : " (torn inside)";
  if (words[0] == 0 && words[1] == 0) return fmt::format("zeros{}", torn);
  if ((words[0] & 0xFFFF'0000'0000'0000) != kStampMagic)
    return fmt::format("garbage {:016x} {:016x}{}", words[0], words[1], torn);
  return fmt::format("generation {} of sector {}{}", static_cast<Generation>(words[0]), ~words[1], torn);
}

Oracle::Oracle(Settles settles, const std::vector<Generation>& initial)
    : settles_(settles), values_(initial.size()) {
  for (std::size_t s = 0; s < initial.size(); ++s)
    values_[s].push_back({initial[s], 0, 0, 0, kOpen});
}

void Oracle::apply(const OracleEvent& event) {
  switch (event.kind) {
    case OracleEvent::Kind::BeginWrite:
      begin_write(event);
      break;
    case OracleEvent::Kind::EndWrite:
      end_write(event);
      break;
    case OracleEvent::Kind::BeginFlush:
      if (event.id >= flush_begin_.size()) flush_begin_.resize(event.id + 1);
      flush_begin_[event.id] = event.time;
      break;
    case OracleEvent::Kind::EndFlush:
      end_flush(event);
      break;
  }
}

void Oracle::begin_write(const OracleEvent& event) {
  if (event.id >= writes_.size()) writes_.resize(event.id + 1);
  writes_[event.id] = {event.first_sector, event.sectors, event.time, kOpen};
  for (std::uint64_t s = event.first_sector; s < event.first_sector + event.sectors; ++s) {
    auto& values = values_[s];
    std::erase_if(values, [this](const Value& v) { return v.settled != kOpen && v.settled <= oldest_read_; });
    values.push_back({event.generation, event.id, event.time, kOpen, kOpen});
  }
}

void Oracle::end_write(const OracleEvent& event) {
  Write& write = writes_[event.id];
  write.end = event.time;
  for (std::uint64_t s = write.first_sector; s < write.first_sector + write.sectors; ++s) {
    for (Value& value : values_[s]) {
      if (value.write == event.id && value.begin == write.begin) value.end = event.time;
    }
  }
  if (!event.ok) return;
  if (settles_ == Settles::Acknowledged || event.fua) {
    settle(write, event.time);
  } else {
    unflushed_.push_back(event.id);
  }
}

void Oracle::end_flush(const OracleEvent& event) {
  if (!event.ok || settles_ == Settles::Acknowledged) return;
  const std::uint64_t begin = flush_begin_[event.id];
  std::erase_if(unflushed_, [&](std::uint32_t id) {
    if (writes_[id].end >= begin) return false;
    settle(writes_[id], event.time);
    return true;
  });
  ++version_;
}

void Oracle::settle(const Write& write, std::uint64_t now) {
  for (std::uint64_t s = write.first_sector; s < write.first_sector + write.sectors; ++s) {
    for (Value& value : values_[s]) {
      if (value.end < write.begin && value.settled == kOpen) {
        value.settled = now;
        ++version_;
      }
    }
  }
}

bool Oracle::legal(std::uint64_t sector, Generation generation) const {
  return std::any_of(values_[sector].begin(), values_[sector].end(),
                     [=](const Value& v) { return v.generation == generation && v.settled == kOpen; });
}

bool Oracle::legal_since(std::uint64_t sector, Generation generation, std::uint64_t begin) const {
  return std::any_of(values_[sector].begin(), values_[sector].end(),
                     [=](const Value& v) { return v.generation == generation && v.settled > begin; });
}

std::string Oracle::legal_text(std::uint64_t sector) const {
  std::string text;
  for (const Value& v : values_[sector]) {
    if (v.settled == kOpen) text += fmt::format("{}{}", text.empty() ? "" : ", ", v.generation);
  }
  return text;
}

}  // namespace ploop::crash
