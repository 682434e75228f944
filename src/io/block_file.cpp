#include "io/block_file.hpp"

#include <string>

namespace ploop::io {
namespace {

std::string position(BlockFile& file, const char* what, std::uint64_t offset) {
  return file.name() + ": " + what + " at byte " + std::to_string(offset);
}

}  // namespace

Status read_exact(BlockFile& file, std::span<std::byte> data, std::uint64_t offset, const char* what) {
  const std::int64_t got = file.read(data, offset);
  if (got < 0) {
    return fail(errno_error(ExitCode::Read, static_cast<int>(-got), "read " + position(file, what, offset)));
  }
  if (static_cast<std::uint64_t>(got) != data.size()) {
    return fail(ExitCode::Read, "read " + position(file, what, offset) + ": the file ends there");
  }
  return {};
}

Status write_exact(BlockFile& file, std::span<const std::byte> data, std::uint64_t offset, const char* what) {
  const std::int64_t put = file.write(data, offset);
  if (put < 0) {
    return fail(
        errno_error(ExitCode::Write, static_cast<int>(-put), "write " + position(file, what, offset)));
  }
  return {};
}

Status sync_file(BlockFile& file) {
  const int err = file.sync();
  if (err < 0) return fail(errno_error(ExitCode::Fsync, -err, "sync " + file.name()));
  return {};
}

Result<std::uint64_t> file_size(BlockFile& file) {
  const std::int64_t size = file.size();
  if (size < 0) return fail(errno_error(ExitCode::Stat, static_cast<int>(-size), "stat " + file.name()));
  return static_cast<std::uint64_t>(size);
}

}  // namespace ploop::io
