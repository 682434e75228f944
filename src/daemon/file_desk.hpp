// The guardian's end of the file channel: opens for the worker what Authority allows. See file_source.hpp for
// the messages.
#pragma once

#include <string>

#include "base/result.hpp"
#include "daemon/authority.hpp"
#include "daemon/channel.hpp"
#include "daemon/level_files.hpp"

namespace ploop::daemon {

class FileDesk {
 public:
  /// `authority` and `files` outlive it.
  FileDesk(const Authority& authority, LevelFiles& files, Channel worker);
  [[nodiscard]] Channel& channel() { return worker_; }
  [[nodiscard]] int fd() const { return worker_.fd(); }
  /// Answers one request. What is refused is logged, since a worker that is in order does not ask for it.
  void answer(const Message& request);

 private:
  Result<io::PosixDescriptors> find(const std::string& path, const io::PosixOpenOptions& options, bool fresh);
  Status open(const std::string& body);
  Status user(const std::string& body);

  const Authority* authority_;
  LevelFiles* files_;
  Channel worker_;
};

}  // namespace ploop::daemon
