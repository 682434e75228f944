// A folder for one test, removed with everything in it.
#pragma once

#include <string>

namespace ploop::test {

class TempDir {
 public:
  /// Below $TMPDIR or /tmp; the path is canonical.
  TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir();

  [[nodiscard]] const std::string& path() const { return path_; }
  /// Path of a file in it; makes nothing.
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/// Whole content of a file; fails the test (exception) when it can't be read.
std::string slurp(const std::string& path);
void write_text(const std::string& path, const std::string& text);
bool exists(const std::string& path);

}  // namespace ploop::test
