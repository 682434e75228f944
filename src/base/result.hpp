// Result<T>: a value or an Error. An alias, so that moving to std::expected later changes one line.
#pragma once

#include <functional>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "base/error.hpp"

namespace ploop {

template <typename T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

/// `return fail(ExitCode::Param, "text");` and `return fail_errno(ExitCode::Open, "open X");`
inline tl::unexpected<Error> fail(Error e) {
  return tl::unexpected<Error>(std::move(e));
}
inline tl::unexpected<Error> fail(ExitCode code, std::string what) {
  return tl::unexpected<Error>(Error{code, 0, std::move(what)});
}
inline tl::unexpected<Error> fail_errno(ExitCode code, std::string what) {
  return tl::unexpected<Error>(errno_error(code, std::move(what)));
}

/// Drops a result on purpose; the reason is for the reader.
template <typename T>
void ignore(const Result<T>&, std::string_view /*reason*/) {}

/// Undo steps of an operation of several steps: run in reverse order unless commit() was called.
class Rollback {
 public:
  Rollback() = default;
  Rollback(const Rollback&) = delete;
  Rollback& operator=(const Rollback&) = delete;
  ~Rollback() {
    for (auto it = steps_.rbegin(); it != steps_.rend(); ++it)
      (*it)();
  }
  void add(std::function<void()> undo) { steps_.push_back(std::move(undo)); }
  void commit() { steps_.clear(); }

 private:
  std::vector<std::function<void()>> steps_;
};

}  // namespace ploop

/// TRY(expr): the value of a Result, or return its error from the current function. Not for coroutines.
#define TRY(...)                                                            \
  __extension__({                                                           \
    auto try_result_ = (__VA_ARGS__);                                       \
    if (!try_result_) return ::ploop::fail(std::move(try_result_).error()); \
    ::ploop::detail::take(std::move(try_result_));                          \
  })

/// The same with "CONTEXT: " put in front of the error's text.
#define TRY_CONTEXT(context, ...)                                                                 \
  __extension__({                                                                                 \
    auto try_result_ = (__VA_ARGS__);                                                             \
    if (!try_result_) return ::ploop::fail(std::move(try_result_).error().with_context(context)); \
    ::ploop::detail::take(std::move(try_result_));                                                \
  })

namespace ploop::detail {
template <typename T>
T take(Result<T>&& r) {
  return std::move(*r);
}
inline void take(Result<void>&&) {}
}  // namespace ploop::detail
