// ublk as the guardian sees it: all of it is the keeper's. The guardian passes the server's file on to the
// worker and keeps no copy, so that the kernel notices the death of the worker.
#pragma once

#include <cstdint>
#include <string>

#include "base/fd.hpp"
#include "daemon/kernel_side.hpp"
#include "transport/ublk/data_path.hpp"

namespace ploop::daemon {

class UblkSide final : public KernelSide {
 public:
  UblkSide(const SideOptions& options, transport::ublk::DataPath path) : options_(options), path_(path) {}
  /// Whether this kernel can do it; loads the driver if that is all that is missing. ExitCode::Device with
  /// the reason.
  static Status usable(transport::ublk::DataPath path);

  Status open() override;
  [[nodiscard]] int worker_fd() const override { return nothing_.get(); }
  Status attach(const control::DeviceState& state) override;
  Status begin_replacement() override;
  bool replace_keeper() override;
  [[nodiscard]] bool is_for_worker(const Message& message) const override;
  [[nodiscard]] std::string hand_over(std::vector<int>& descriptors) const override;
  Status adopt(std::string_view text) override;
  void let_go() override {}
  void abandon() override;
  bool wait_for_keeper() override;

 private:
  Result<KeeperProcess> start_keeper(bool adopt) const;

  SideOptions options_;
  transport::ublk::DataPath path_;
  std::uint64_t token_ = 0;
  std::uint64_t generation_ = 0;  ///< of workers
  Fd nothing_;                    ///< /dev/null, where another transport hands its descriptor down
};

}  // namespace ploop::daemon
