// The kernel's side of the pump: commands on the server's file, descriptors in memory shared with the driver.
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/aligned_buffer.hpp"
#include "transport/ublk/pump.hpp"

namespace ploop::transport::ublk {
namespace {

class KernelServer final : public Server {
 public:
  KernelServer(io::UringRing& ring, int fd) : ring_(ring), fd_(fd) {}
  ~KernelServer() override {
    for (void* queue : queues_)
      ::munmap(queue, queue_bytes_);
  }
  KernelServer(const KernelServer&) = delete;
  KernelServer& operator=(const KernelServer&) = delete;

  Status map(const Geometry& geometry) {
    queue_bytes_ = (geometry.depth * sizeof(IoDesc) + kPageSize - 1) / kPageSize * kPageSize;
    for (unsigned q = 0; q < geometry.queues; ++q) {
      void* memory = ::mmap(nullptr, queue_bytes_, PROT_READ, MAP_SHARED | MAP_POPULATE, fd_,
                            static_cast<off_t>(q * kQueueStride));
      if (memory == MAP_FAILED) return fail_errno(ExitCode::Device, "map the requests of the ublk device");
      queues_.push_back(memory);
    }
    return {};
  }

  void submit(std::uint32_t opcode, const IoBody& body, std::uint64_t buffer, io::Completion* done) override {
    io::DeviceCommand command;
    command.fd = fd_;
    command.opcode = opcode;
    command.address = buffer;
    std::memcpy(command.body.data(), &body, sizeof body);
    ring_.submit_command(command, done);
  }
  bool push() override { return ring_.push(); }
  [[nodiscard]] IoDesc request(unsigned queue, unsigned tag) const override {
    IoDesc desc;
    std::memcpy(&desc, static_cast<const std::byte*>(queues_[queue]) + tag * sizeof desc, sizeof desc);
    return desc;
  }
  bool copy_in(unsigned queue, unsigned tag, std::span<std::byte> data) override {
    const auto position = static_cast<off_t>(data_position(queue, tag));
    return ::pread(fd_, data.data(), data.size(), position) == static_cast<ssize_t>(data.size());
  }
  bool copy_out(unsigned queue, unsigned tag, std::span<const std::byte> data) override {
    const auto position = static_cast<off_t>(data_position(queue, tag));
    return ::pwrite(fd_, data.data(), data.size(), position) == static_cast<ssize_t>(data.size());
  }

 private:
  io::UringRing& ring_;
  int fd_;
  std::size_t queue_bytes_ = 0;
  std::vector<void*> queues_;
};

}  // namespace

Result<std::unique_ptr<Server>> open_server(io::UringRing& ring, int fd, const Geometry& geometry) {
  auto server = std::make_unique<KernelServer>(ring, fd);
  TRY(server->map(geometry));
  return std::unique_ptr<Server>(std::move(server));
}

}  // namespace ploop::transport::ublk
