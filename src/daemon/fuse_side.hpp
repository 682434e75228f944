// FUSE + loop as the guardian sees it: the connection, held open so that requests survive a worker, and the
// mount, held until the loop device over its file is released.
#pragma once

#include "daemon/kernel_side.hpp"
#include "transport/fuse/connection.hpp"

namespace ploop::daemon {

class FuseSide final : public KernelSide {
 public:
  explicit FuseSide(bool read_only) : read_only_(read_only) {}

  Status open() override;
  [[nodiscard]] int worker_fd() const override { return connection_.device.get(); }
  Status attach(const control::DeviceState& state) override;
  [[nodiscard]] std::string hand_over(std::vector<int>& descriptors) const override;
  Status adopt(std::string_view text) override;
  /// With the loop device's, the last reference, the kernel ends the connection; the worker reads ENODEV.
  void let_go() override { connection_.mount.reset(); }
  void abandon() override;
  bool wait_for_keeper() override;

 private:
  bool read_only_;
  transport::fuse::Connection connection_;
};

}  // namespace ploop::daemon
