// `copy -d FILE`: the receiving end. Reads the stream of docs/format.md, section 12, from a pipe or socket.
#pragma once

#include <string>

#include "base/result.hpp"

namespace ploop::ops {

struct CopyReceiveOptions {
  std::string file;
  int input = 0;      ///< descriptor of a pipe or socket
  int feedback = -1;  ///< the same, for the answers to sync packets; -1 for none
};

/// FILE appears when the stream has ended as it should and everything is durable; otherwise there is none.
/// ExitCode::Param for descriptors of the wrong kind, Create when FILE exists, Read when the stream ends
/// early, Protocol when it is damaged, Write for everything about writing.
Status copy_receive(const CopyReceiveOptions& options);

}  // namespace ploop::ops
