// `upgrade`: the daemons of running devices become another program while the devices are used.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"
#include "control/client.hpp"

namespace ploop::ops {

struct UpgradeOptions {
  bool all = false;                  ///< every device
  std::vector<std::string> targets;  ///< else these: devices or descriptors
  std::string program;               ///< of ploopd; "" for the installed one
};

struct UpgradeOutcome {
  std::string device;  ///< /dev/ploopN
  Result<control::UpgradeResult>
      result;  ///< versions before and after, or why it was not possible; the device works on either way
};

/// One device after the other, also after a failure. An error when it is unknown what to upgrade, or with
/// what: ExitCode::Device, NotMounted, Param, System.
Result<std::vector<UpgradeOutcome>> upgrade(const UpgradeOptions& options);

}  // namespace ploop::ops
