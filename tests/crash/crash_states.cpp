// Durable prefix, pending operations, and the choice of their fates.
#include "crash_states.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "stamp.hpp"

namespace ploop::crash {

using io::OpKind;
using io::Recorded;

namespace {

/// The unit in which an operation tears: sectors for data, blocks for extents.
std::uint64_t tear_unit(OpKind kind) {
  return kind == OpKind::Write ? 512 : 4096;
}

std::uint64_t units_of(const Recorded& entry) {
  return (entry.length + tear_unit(entry.kind) - 1) / tear_unit(entry.kind);
}

bool tears(OpKind kind) {
  return kind == OpKind::Write || kind == OpKind::Clone || kind == OpKind::Punch;
}

std::uint64_t hash_of(std::uint64_t a, std::uint64_t b) {
  std::uint64_t v = (a + 1) * 0x9E3779B97F4A7C15U + b * 0xD6E8FEB86659FD93U;
  v ^= v >> 29;
  v *= 0xBF58476D1CE4E5B9U;
  return v ^ (v >> 32);
}

bool unit_arrives(const Fate& fate, std::uint64_t unit) {
  switch (fate.kind) {
    case Fate::Kind::Present:
      return true;
    case Fate::Kind::TornFront:
      return unit < fate.argument;
    case Fate::Kind::TornBack:
      return unit >= fate.argument;
    case Fate::Kind::TornRandom:
      return (hash_of(fate.argument, unit) & 1) != 0;
    default:
      return false;
  }
}

std::string kind_text(OpKind kind) {
  static constexpr const char* kNames[] = {"read", "write", "sync", "allocate", "punch", "clone", "truncate"};
  return kNames[static_cast<std::size_t>(kind)];
}

/// Operations of a killed worker that did not reach the kernel any more.
constexpr int kNeverSent = -EINVAL;

std::string entry_text(std::size_t index, const Recorded& entry) {
  return fmt::format("    #{} [{}..{}] {} {}+{} = {}", index, entry.submitted,
                     entry.completed == Recorded::kNever ? "never" : std::to_string(entry.completed),
                     kind_text(entry.kind), entry.offset, entry.length, entry.result);
}

}  // namespace

CrashStates::CrashStates(Content initial, std::span<const Recorded> log, std::uint64_t data_start)
    : base_(std::move(initial)), log_(log), data_start_(data_start) {
  for (std::size_t i = 0; i < log_.size(); ++i) {
    if (log_[i].kind == OpKind::Sync && log_[i].completed != Recorded::kNever) barriers_.push_back(i);
  }
  std::sort(barriers_.begin(), barriers_.end(),
            [&](std::size_t a, std::size_t b) { return log_[a].completed < log_[b].completed; });
}

bool CrashStates::durable(const Recorded& entry, std::uint64_t time) const {
  const bool failed = entry.result < 0;
  if (entry.completed >= time || failed) return false;
  for (const std::size_t b : barriers_) {
    const Recorded& barrier = log_[b];
    if (barrier.completed >= time) break;
    if (barrier.result == kNeverSent) continue;
    if (barrier.result == 0 && entry.completed < barrier.submitted) return true;
    if (barrier.result < 0 && entry.submitted < barrier.completed)
      return false;  // lost with the failed barrier
  }
  return false;
}

void CrashStates::advance(std::uint64_t time) {
  for (; next_ < log_.size() && log_[next_].submitted < time; ++next_) {
    const Recorded& entry = log_[next_];
    if (entry.kind == OpKind::Sync) continue;
    pending_.push_back({next_, false, 0});
  }
  std::erase_if(pending_, [&](const Pending& p) {
    const Recorded& entry = log_[p.index];
    return entry.completed < time && (entry.result == -EOPNOTSUPP || entry.result == kNeverSent);
  });
  const auto effect = [&](const Pending& p) {
    return log_[p.index].completed < time ? log_[p.index].completed : Recorded::kNever;
  };
  std::stable_sort(pending_.begin(), pending_.end(), [&](const Pending& a, const Pending& b) {
    return effect(a) != effect(b) ? effect(a) < effect(b) : a.index < b.index;
  });
  for (Pending& p : pending_) {
    const Recorded& entry = log_[p.index];
    p.durable = durable(entry, time);
    const bool grows =
        entry.kind == OpKind::Write || entry.kind == OpKind::Allocate || entry.kind == OpKind::Clone;
    // What a barrier made durable can be read back, also when an operation before it that failed has cut the
    // file after all.
    const std::uint64_t end = entry.offset + entry.length;
    p.new_size = grows && (p.durable || end > entry.size_before) ? end : 0;
  }
  std::size_t certain = 0;
  while (certain < pending_.size() && pending_[certain].durable) {
    apply(base_, pending_[certain], log_[pending_[certain].index], {Fate::Kind::Present, 0});
    ++certain;
  }
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(certain));
}

void CrashStates::apply(Content& content, const Pending& pending, const Recorded& entry, const Fate& fate) {
  if (fate.kind == Fate::Kind::Absent) return;
  if (entry.kind == OpKind::Truncate) {
    content.set_size(entry.length);
    return;
  }
  if (pending.new_size > content.size()) {
    if (fate.kind == Fate::Kind::LengthPoison) {
      const std::uint64_t from = std::max(content.size(), entry.offset);
      content.fill(kPoison, from, pending.new_size - from);
    }
    content.set_size(pending.new_size);
  }
  if (!tears(entry.kind)) return;
  const std::uint64_t unit = tear_unit(entry.kind);
  for (std::uint64_t u = 0; u < units_of(entry); ++u) {
    if (!unit_arrives(fate, u)) continue;
    const std::uint64_t from = u * unit;
    const std::uint64_t length = std::min(unit, entry.length - from);
    if (entry.kind == OpKind::Punch) {
      content.fill(std::byte{0}, entry.offset + from, length);
    } else {
      content.write(std::span(entry.data).subspan(from, length), entry.offset + from);
    }
  }
}

Content CrashStates::build(const std::vector<Fate>& fates) const {
  Content content = base_;
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    const Fate fate = pending_[i].durable ? Fate{Fate::Kind::Present, 0} : fates[i];
    apply(content, pending_[i], log_[pending_[i].index], fate);
  }
  content.clip();
  return content;
}

std::string CrashStates::recent(std::size_t how_many) const {
  std::string text;
  for (std::size_t i = next_ > how_many ? next_ - how_many : 0; i < next_; ++i)
    text += entry_text(i, log_[i]) + '\n';
  return text;
}

std::string CrashStates::describe(const std::vector<Fate>& fates) const {
  static constexpr const char* kFates[] = {"absent", "present", "length only", "length and poison",
                                           "front",  "back",    "random"};
  std::string text;
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    text += fmt::format("{}: {}", entry_text(pending_[i].index, log_[pending_[i].index]),
                        pending_[i].durable ? "durable" : kFates[static_cast<std::size_t>(fates[i].kind)]);
    if (fates[i].kind >= Fate::Kind::TornFront) text += fmt::format(" {}", fates[i].argument);
    text += '\n';
  }
  return text;
}

bool CrashStates::metadata(const Recorded& entry) const {
  return entry.kind != OpKind::Write || entry.offset < data_start_;
}

std::vector<Fate> CrashStates::variants(const Pending& pending, std::mt19937_64& rng) const {
  const Recorded& entry = log_[pending.index];
  std::vector<Fate> out{{Fate::Kind::Present, 0}};
  if (pending.new_size != 0 && entry.kind != OpKind::Allocate) {
    out.push_back({Fate::Kind::LengthOnly, 0});
    out.push_back({Fate::Kind::LengthPoison, 0});
  }
  if (!tears(entry.kind)) return out;
  const auto units = static_cast<std::uint32_t>(units_of(entry));
  if (metadata(entry) && units <= 8) {
    for (std::uint32_t cut = 1; cut < units; ++cut) {
      out.push_back({Fate::Kind::TornFront, cut});
      out.push_back({Fate::Kind::TornBack, cut});
    }
  } else if (units > 1) {
    out.push_back({Fate::Kind::TornFront, 1 + static_cast<std::uint32_t>(rng() % (units - 1))});
    out.push_back({Fate::Kind::TornBack, 1 + static_cast<std::uint32_t>(rng() % (units - 1))});
  }
  if (units > 2) out.push_back({Fate::Kind::TornRandom, static_cast<std::uint32_t>(rng())});
  return out;
}

/// Fates of all pending operations except `fixed`, which is left absent.
std::vector<std::vector<Fate>> CrashStates::subsets(std::size_t fixed, const Enumeration& limits,
                                                    std::mt19937_64& rng) const {
  std::vector<std::size_t> open;
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    if (!pending_[i].durable && i != fixed) open.push_back(i);
  }
  std::vector<std::vector<Fate>> out;
  const auto add = [&](auto present) {
    std::vector<Fate> fates(pending_.size());
    for (std::size_t k = 0; k < open.size(); ++k) {
      if (present(k)) fates[open[k]].kind = Fate::Kind::Present;
    }
    out.push_back(std::move(fates));
  };
  const std::size_t n = open.size();
  if (n <= limits.all_subsets_up_to) {
    for (std::uint64_t mask = 0; mask < std::uint64_t{1} << n; ++mask)
      add([=](std::size_t k) { return (mask >> k & 1) != 0; });
    return out;
  }
  for (std::size_t end = 0; end <= n; ++end)
    add([=](std::size_t k) { return k < end; });
  for (std::size_t out_of = 0; out_of < n; ++out_of)
    add([=](std::size_t k) { return k != out_of; });
  for (std::size_t only = 0; only < n; ++only)
    add([=](std::size_t k) { return k == only; });
  if (n <= 64) {
    for (std::size_t a = 0; a < n; ++a) {
      for (std::size_t b = a + 1; b < n; ++b)
        add([=](std::size_t k) { return k == a || k == b; });
    }
  }
  for (std::size_t r = 0; r < limits.random_subsets; ++r) {
    const std::uint64_t seed = rng();
    add([=](std::size_t k) { return (hash_of(seed, k) & 1) != 0; });
    for (std::size_t k = 0; k < n; ++k) {  // some of the present ones are torn
      Fate& fate = out.back()[open[k]];
      if (fate.kind != Fate::Kind::Present || hash_of(seed, k) % 8 != 7) continue;
      const auto choices = variants(pending_[open[k]], rng);
      fate = choices[rng() % choices.size()];
    }
  }
  return out;
}

void CrashStates::enumerate(std::size_t must_have, const Enumeration& limits, std::mt19937_64& rng,
                            const Visit& visit) const {
  std::size_t fixed = pending_.size();
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    if (pending_[i].index == must_have) fixed = i;
  }
  if (must_have != kAll && fixed == pending_.size()) return;  // already durable, or undone
  auto states = subsets(fixed, limits, rng);
  if (must_have != kAll) {
    const auto choices = variants(pending_[fixed], rng);
    const std::size_t plain = states.size();
    for (std::size_t s = 0; s < plain; ++s)
      states[s][fixed] = choices[0];
    for (std::size_t c = 1; c < choices.size(); ++c) {
      // Torn: with all the others, with none of them, and with some.
      for (const std::size_t s : {plain - 1, std::size_t{0}, static_cast<std::size_t>(rng() % plain)}) {
        auto fates = states[s];
        fates[fixed] = choices[c];
        states.push_back(std::move(fates));
      }
    }
  }
  const bool light = must_have != kAll && !metadata(log_[must_have]);
  const std::size_t limit = light ? limits.per_data_event : limits.per_event;
  if (states.size() > limit) {
    std::shuffle(states.begin(), states.end(), rng);
    states.resize(limit);
  }
  for (const auto& fates : states)
    visit(fates);
}

}  // namespace ploop::crash
