// Package virtiotest drives virtio devices in tests, as a driver in a guest would.
//
// # Place
//
// Imported by the tests of the device models. It stands where the transport and the guest are otherwise: it makes guest
// memory, lays queues out in it, calls Start and Stop of the device, and works the driver's side of the rings.
//
// # Idea
//
// Honest drivers use [Queue.Add], [Queue.Wait] and [Driver.Alloc] and need not know how a ring looks. Hostile ones write
// descriptors and ring entries themselves.
//
// # Invariants
//
// A used entry that the driver did not hand out fails the test. When the test ends, the device is stopped before memory goes.
//
// # Limits
//
// A Queue belongs to one goroutine at a time. Guest memory is not given back before the test ends; there are 128 MiB of it,
// unless the test brings its own.
package virtiotest
