// The file that a copy becomes. It has no name while it is being written and gets its name in one step when
// it is complete and durable: whoever sees FILE sees all of it, and a copy that fails or is killed leaves
// nothing. Where the file system has no files without a name (O_TMPFILE), it has a hidden name beside FILE
// meanwhile; only kill -9 leaves that one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace ploop::ops {

class CopyFile {
 public:
  /// Mode 0600. ExitCode::Create when something of that name exists or the file can't be made.
  static Result<CopyFile> create(const std::string& path);
  CopyFile(CopyFile&& other) noexcept;
  CopyFile& operator=(CopyFile&&) = delete;
  /// Nothing is left of a file that did not get its name.
  ~CopyFile();

  /// Content for this position; later content wins. Zeros behind everything that came so far take no space.
  /// ExitCode::Write.
  Status put(std::uint64_t position, std::span<const std::byte> data);
  /// What came so far is durable. ExitCode::Write.
  Status sync();
  /// Complete: sets the length to the highest end that came, makes everything durable, gives the name.
  /// ExitCode::Write; Create when somebody else has made FILE meanwhile. Called once.
  Status finish();

 private:
  CopyFile(std::string path, Fd fd, std::string hidden);
  Status give_name();

  std::string path_;
  Fd fd_;
  std::string hidden_;  ///< "" for a file without a name
  std::uint64_t length_ = 0;
};

/// True for zeros only.
bool all_zero(std::span<const std::byte> data);
/// Writes everything at a place. ExitCode::Write, `name` in the text.
Status write_at(int fd, std::span<const std::byte> data, std::uint64_t position, const std::string& name);

}  // namespace ploop::ops
