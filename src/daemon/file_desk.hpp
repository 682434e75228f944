// The guardian's end of the file channel: opens for the worker what Authority allows. See file_source.hpp for
// the messages.
#pragma once

#include <string>

#include "base/result.hpp"
#include "daemon/authority.hpp"
#include "daemon/channel.hpp"

namespace ploop::daemon {

class FileDesk {
 public:
  /// `authority` outlives it.
  FileDesk(const Authority& authority, Channel worker);
  [[nodiscard]] Channel& channel() { return worker_; }
  [[nodiscard]] int fd() const { return worker_.fd(); }
  /// Answers one request. What is refused is logged, since a worker that is in order does not ask for it.
  void answer(const Message& request);

 private:
  Status open(const std::string& body);
  Status user(const std::string& body);

  const Authority* authority_;
  Channel worker_;
};

}  // namespace ploop::daemon
