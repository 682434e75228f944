#include "base/file_id.hpp"

#include <sys/stat.h>

#include "base/fd.hpp"

namespace ploop {

std::optional<FileId> file_id(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return std::nullopt;
  return FileId{st.st_dev, st.st_ino};
}

std::optional<FileId> file_id(int fd) {
  struct stat st {};
  if (file_status(fd, st) != 0) return std::nullopt;
  return FileId{st.st_dev, st.st_ino};
}

}  // namespace ploop
