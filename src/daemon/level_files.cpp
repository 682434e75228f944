#include "daemon/level_files.hpp"

#include <fcntl.h>

#include <algorithm>

namespace ploop::daemon {

using control::DeltaSpec;

const Fd* LevelFiles::find(const FileId& id) const {
  const auto kept = std::ranges::find_if(kept_, [&](const Kept& k) { return k.id == id; });
  return kept == kept_.end() ? nullptr : &kept->reference;
}

Result<std::pair<io::PosixDescriptors, FileId>> LevelFiles::open_by_name(const std::string& path,
                                                                         const io::PosixOpenOptions& options,
                                                                         const std::optional<FileId>& wanted,
                                                                         std::string_view otherwise) {
  io::PosixDescriptors file = TRY(io::open_descriptors(path, options));
  const auto id = file_id(file.cached.get());
  if (!id) return fail_errno(ExitCode::Stat, "stat " + path);
  if (wanted && *wanted != *id) return fail(ExitCode::Open, path + std::string(otherwise));
  if (find(*id) == nullptr) {
    kept_.push_back({*id, TRY(open_file("/proc/self/fd/" + std::to_string(file.cached.get()), O_PATH))});
  }
  return std::pair{std::move(file), *id};
}

Result<io::PosixDescriptors> LevelFiles::open_level(const std::string& path,
                                                    const io::PosixOpenOptions& options) {
  const auto level = std::ranges::find_if(order_->deltas, [&](const DeltaSpec& d) { return d.path == path; });
  if (level == order_->deltas.end()) return fail(ExitCode::Open, path + " is no level of the device");
  if (level->file) {
    if (const Fd* kept = find(*level->file)) return io::reopen_descriptors(*kept, path, options);
  }
  auto [file, id] =
      TRY(open_by_name(path, options, level->file, " is not the file any more that the device has"));
  level->file = id;
  return std::move(file);
}

Result<io::PosixDescriptors> LevelFiles::open_fresh(const DeltaSpec& wanted,
                                                    const io::PosixOpenOptions& options) {
  const auto note = [&](const FileId& id) {
    std::erase_if(fresh_, [&](const auto& f) { return f.first == wanted.path; });
    fresh_.emplace_back(wanted.path, id);
  };
  const Fd* const kept = wanted.file ? find(*wanted.file) : nullptr;
  if (kept != nullptr) {
    note(*wanted.file);
    return io::reopen_descriptors(*kept, wanted.path, options);
  }
  auto [file, id] = TRY(
      open_by_name(wanted.path, options, wanted.file,
                   " is not the file any more that the command meant: it was moved or replaced meanwhile"));
  note(id);
  return std::move(file);
}

Status LevelFiles::identify(control::ChainState& next) const {
  for (std::size_t level = 0; level < next.deltas.size(); ++level) {
    DeltaSpec& delta = next.deltas[level];
    delta.file.reset();
    if (std::ranges::count(next.fresh, level) != 0) {
      const auto opened = std::ranges::find_if(fresh_, [&](const auto& f) { return f.first == delta.path; });
      if (opened != fresh_.end()) delta.file = opened->second;
    } else {
      const auto known =
          std::ranges::find_if(order_->deltas, [&](const DeltaSpec& d) { return d.path == delta.path; });
      if (known != order_->deltas.end()) delta.file = known->file;
    }
    if (!delta.file) return fail(ExitCode::Param, "it is not known which file " + delta.path + " is");
  }
  return {};
}

void LevelFiles::forget_others() {
  fresh_.clear();
  std::erase_if(kept_, [&](const Kept& k) {
    return std::ranges::none_of(order_->deltas, [&](const DeltaSpec& d) { return d.file == k.id; });
  });
}

std::vector<int> LevelFiles::descriptors() const {
  std::vector<int> numbers;
  for (const DeltaSpec& delta : order_->deltas) {
    const Fd* const kept = delta.file ? find(*delta.file) : nullptr;
    numbers.push_back(kept == nullptr ? -1 : kept->get());
  }
  return numbers;
}

void LevelFiles::adopt(const std::vector<int>& descriptors) {
  for (std::size_t level = 0; level < descriptors.size() && level < order_->deltas.size(); ++level) {
    const auto id = descriptors[level] < 0 ? std::nullopt : file_id(descriptors[level]);
    if (!id) continue;
    order_->deltas[level].file = *id;
    if (find(*id) == nullptr) kept_.push_back({*id, Fd{descriptors[level]}});
  }
}

}  // namespace ploop::daemon
