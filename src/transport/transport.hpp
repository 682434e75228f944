// What the worker needs of a way to reach the kernel's block layer. Each transport turns the requests of one
// kernel interface into engine requests; none of them knows clusters.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.hpp"

namespace ploop::transport {

/// Facts about the kernel's side, known once it has been greeted.
struct TransportInfo {
  std::string_view name;    ///< as in `--transport`
  bool can_resend = false;  ///< unanswered requests survive the worker and can be asked for again
  bool can_resize = true;   ///< the running disk can get another size
};

/// Serves one device. Lives on the ring's thread.
class Transport {
 public:
  virtual ~Transport() = default;
  /// Waits for the kernel's first message and answers it. ExitCode::Device when it does not come or asks for
  /// what we lack.
  virtual Status greet() = 0;
  /// Instead of greet(), when the kernel was greeted by a predecessor that is gone, its I/O included: asks
  /// for everything that was in flight again. ExitCode::Device.
  virtual Status take_over() = 0;
  [[nodiscard]] virtual TransportInfo info() const = 0;
  /// Serves requests until the kernel says that the device is gone, then returns; no request is in flight
  /// then. Fails with ExitCode::DeviceIoctl when the connection breaks in another way.
  virtual Status run() = 0;
  /// Takes no more requests: what comes from now on waits in the kernel for a successor. run() returns when
  /// those in progress are answered, and retired() is true then. False: this transport can't, and nothing has
  /// changed.
  virtual bool retire() { return false; }
  /// Takes requests again, if run() has not returned yet.
  virtual void stay() {}
  [[nodiscard]] virtual bool retired() const { return false; }
  /// The engine device has another size; requests are judged by it from now on.
  virtual void size_changed() = 0;
};

}  // namespace ploop::transport
