//go:build ignore

// Template of kernel_gen.go. See usui/internal/uapigen.

package vhost

// Requests to a device.
const (
	getFeatures        request = C.VHOST_GET_FEATURES
	setFeatures        request = C.VHOST_SET_FEATURES
	setOwner           request = C.VHOST_SET_OWNER
	setMemTable        request = C.VHOST_SET_MEM_TABLE
	setVringNum        request = C.VHOST_SET_VRING_NUM
	setVringAddr       request = C.VHOST_SET_VRING_ADDR
	setVringBase       request = C.VHOST_SET_VRING_BASE
	getVringBase       request = C.VHOST_GET_VRING_BASE
	setVringKick       request = C.VHOST_SET_VRING_KICK
	setVringCall       request = C.VHOST_SET_VRING_CALL
	setVringErr        request = C.VHOST_SET_VRING_ERR
	setBackendFeatures request = C.VHOST_SET_BACKEND_FEATURES
	getBackendFeatures request = C.VHOST_GET_BACKEND_FEATURES
	netSetBackend      request = C.VHOST_NET_SET_BACKEND
	vsockSetGuestCID   request = C.VHOST_VSOCK_SET_GUEST_CID
	vsockSetRunning    request = C.VHOST_VSOCK_SET_RUNNING
)

type vringState C.struct_vhost_vring_state
type vringFile C.struct_vhost_vring_file
type vringAddr C.struct_vhost_vring_addr
type memoryHeader C.memory_header
type memoryRegion C.struct_vhost_memory_region
