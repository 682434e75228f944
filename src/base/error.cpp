#include "base/error.hpp"

#include <cerrno>
#include <system_error>

namespace ploop {

Error Error::with_context(std::string_view context) && {
  what.insert(0, ": ");
  what.insert(0, context);
  return std::move(*this);
}

std::string Error::message() const {
  if (sys_errno == 0) return what;
  return what + ": " + std::generic_category().message(sys_errno);
}

Error errno_error(ExitCode code, std::string what) {
  return errno_error(code, errno, std::move(what));
}

Error errno_error(ExitCode code, int sys_errno, std::string what) {
  return Error{code, sys_errno, std::move(what)};
}

}  // namespace ploop
