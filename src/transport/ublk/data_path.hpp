// How the data of requests gets from the kernel to the images and back.
#pragma once

#include <cstdint>

#include "transport/ublk/uapi.hpp"

namespace ploop::transport::ublk {

enum class DataPath : std::uint8_t {
  Copy,      ///< the kernel copies between a request and memory of the server
  UserCopy,  ///< the server does
  ZeroCopy,  ///< nobody: the ring reads and writes images from and to the request's pages; what can't be done
             ///< so goes as with UserCopy
};

/// The features of the driver that it takes, and the flags of its device. With ZeroCopy the driver registers
/// the buffers; the server does not get the commands to do that itself (UBLK_F_SUPPORT_ZERO_COPY), since it
/// needs none of them.
constexpr std::uint64_t features_for(DataPath path) {
  switch (path) {
    case DataPath::Copy:
      return 0;
    case DataPath::UserCopy:
      return kFeatureUserCopy;
    case DataPath::ZeroCopy:
      return kFeatureUserCopy | kFeatureAutoBuffer;
  }
  return 0;
}

}  // namespace ploop::transport::ublk
