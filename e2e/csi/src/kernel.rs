//! The kernel's calls that no library offers: loop devices, file-system encryption, growing ext4.
//!
//! In and out: file descriptors and plain values. Invariant: all `unsafe` of this crate is here, and every layout
//! is the kernel's (`linux/loop.h`, `linux/fscrypt.h`, `fs/ext4/ext4.h`; a test holds the sizes).
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd};

use freehold_keys::DataKey;
use rustix::io::Errno;
use rustix::ioctl::{self, Ioctl, IoctlOutput, NoArg, Opcode, Setter, Updater, opcode};
use zeroize::Zeroize;

/// Bytes of a master key: what AES-256-XTS takes, and the most that the kernel allows.
pub const KEY_BYTES: usize = 64;

const LOOP_GET_FREE: Opcode = 0x4C82;
const LOOP_CONFIGURE: Opcode = 0x4C0A;
const LOOP_GET_STATUS: Opcode = 0x4C05;
const LOOP_SET_CAPACITY: Opcode = 0x4C07;
/// The device lets go of its file when the last one that has it open or mounted does.
const LOOP_AUTOCLEAR: u32 = 4;
/// The file's pages are not cached a second time.
const LOOP_DIRECT_IO: u32 = 16;

const SET_POLICY: Opcode = opcode::read::<[u8; 12]>(b'f', 19);
const GET_POLICY: Opcode = opcode::read_write::<[u8; 9]>(b'f', 22);
const ADD_KEY: Opcode = opcode::read_write::<[u8; 80]>(b'f', 23);
const REMOVE_KEY: Opcode = opcode::read_write::<RemoveKey>(b'f', 24);
const KEY_STATUS: Opcode = opcode::read_write::<KeyStatus>(b'f', 26);
const EXT4_RESIZE: Opcode = opcode::write::<u64>(b'f', 16);

const POLICY_V2: u8 = 2;
const AES_256_XTS: u8 = 1;
const AES_256_CTS: u8 = 4;
/// Names are padded to 32 bytes, so that little is seen of their lengths.
const PAD_32: u8 = 3;
const BY_IDENTIFIER: u32 = 2;
const KEY_PRESENT: u32 = 2;
const FILES_BUSY: u32 = 1;

/// What the kernel calls a key by: a hash of it, which tells nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identifier(pub [u8; 16]);

#[repr(C)]
#[derive(Clone, Copy)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

impl LoopInfo {
    const EMPTY: LoopInfo = LoopInfo {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: 0,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
}

#[repr(C)]
struct LoopConfig {
    file: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct KeySpecifier {
    kind: u32,
    reserved: u32,
    identifier: [u8; 16],
    reserved_more: [u8; 16],
}

impl KeySpecifier {
    fn of(identifier: Identifier) -> Self {
        KeySpecifier {
            kind: BY_IDENTIFIER,
            reserved: 0,
            identifier: identifier.0,
            reserved_more: [0; 16],
        }
    }
}

#[repr(C)]
struct AddKey {
    specifier: KeySpecifier,
    size: u32,
    key_id: u32,
    reserved: [u32; 8],
    raw: [u8; KEY_BYTES],
}

impl Drop for AddKey {
    fn drop(&mut self) {
        self.raw.zeroize();
    }
}

#[repr(C)]
struct RemoveKey {
    specifier: KeySpecifier,
    flags: u32,
    reserved: [u32; 5],
}

#[repr(C)]
struct KeyStatus {
    specifier: KeySpecifier,
    reserved: [u32; 6],
    status: u32,
    flags: u32,
    users: u32,
    reserved_out: [u32; 13],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Policy {
    version: u8,
    contents: u8,
    names: u8,
    flags: u8,
    reserved: [u8; 4],
    identifier: [u8; 16],
}

#[repr(C)]
struct GetPolicy {
    size: u64,
    policy: Policy,
}

/// What the kernel answers with its return value.
struct FreeLoop;

// SAFETY: the call takes no argument, and its result is a number.
unsafe impl Ioctl for FreeLoop {
    type Output = i32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> Result<i32, Errno> {
        Ok(output)
    }
}

/// The number of a loop device that is free now; somebody else may be quicker to take it.
pub fn loop_free(control: impl AsFd) -> Result<i32, Errno> {
    // SAFETY: see `FreeLoop`.
    unsafe { ioctl::ioctl(control, FreeLoop) }
}

/// Ties a free loop device to a file, for as long as it is open or mounted.
pub fn loop_attach(device: impl AsFd, file: impl AsFd) -> Result<(), Errno> {
    let mut config = LoopConfig {
        file: file.as_fd().as_raw_fd().cast_unsigned(),
        block_size: 0,
        info: LoopInfo {
            flags: LOOP_AUTOCLEAR | LOOP_DIRECT_IO,
            ..LoopInfo::EMPTY
        },
        reserved: [0; 8],
    };
    // SAFETY: LOOP_CONFIGURE reads a `loop_config`.
    unsafe { ioctl::ioctl(device, Updater::<LOOP_CONFIGURE, _>::new(&mut config)) }
}

/// Device and inode of the file behind a loop device.
pub fn loop_file(device: impl AsFd) -> Result<(u64, u64), Errno> {
    let mut info = LoopInfo::EMPTY;
    // SAFETY: LOOP_GET_STATUS64 writes a `loop_info64`.
    unsafe { ioctl::ioctl(device, Updater::<LOOP_GET_STATUS, _>::new(&mut info))? };
    Ok((info.device, info.inode))
}

/// Tells a loop device that its file has grown.
pub fn loop_grow(device: impl AsFd) -> Result<(), Errno> {
    // SAFETY: LOOP_SET_CAPACITY takes no argument.
    unsafe { ioctl::ioctl(device, NoArg::<LOOP_SET_CAPACITY>::new()) }
}

/// Grows the mounted ext4 of `folder` to so many blocks.
pub fn ext4_grow(folder: impl AsFd, blocks: u64) -> Result<(), Errno> {
    // SAFETY: EXT4_IOC_RESIZE_FS reads a `__u64`.
    unsafe { ioctl::ioctl(folder, Setter::<EXT4_RESIZE, u64>::new(blocks)) }
}

/// Gives the file system of `folder` a key; the same key twice is one. A key of another length is EINVAL.
pub fn key_add(folder: impl AsFd, key: &DataKey) -> Result<Identifier, Errno> {
    let raw = key.as_bytes().try_into().map_err(|_| Errno::INVAL)?;
    let mut add = AddKey {
        specifier: KeySpecifier::of(Identifier([0; 16])),
        size: KEY_BYTES as u32,
        key_id: 0,
        reserved: [0; 8],
        raw,
    };
    // SAFETY: FS_IOC_ADD_ENCRYPTION_KEY reads a `fscrypt_add_key_arg` and the `size` bytes after it, and writes
    // the identifier into its specifier.
    unsafe { ioctl::ioctl(folder, Updater::<ADD_KEY, _>::new(&mut add))? };
    Ok(Identifier(add.specifier.identifier))
}

/// Takes a key out of the kernel's memory, with everything that was deciphered and isn't in use. Says whether
/// files are still in use.
pub fn key_remove(folder: impl AsFd, identifier: Identifier) -> Result<bool, Errno> {
    let mut remove = RemoveKey {
        specifier: KeySpecifier::of(identifier),
        flags: 0,
        reserved: [0; 5],
    };
    // SAFETY: FS_IOC_REMOVE_ENCRYPTION_KEY reads and writes a `fscrypt_remove_key_arg`.
    unsafe { ioctl::ioctl(folder, Updater::<REMOVE_KEY, _>::new(&mut remove))? };
    Ok(remove.flags & FILES_BUSY != 0)
}

/// Whether the file system of `folder` has the key and would open files with it.
pub fn key_present(folder: impl AsFd, identifier: Identifier) -> Result<bool, Errno> {
    let mut status = KeyStatus {
        specifier: KeySpecifier::of(identifier),
        reserved: [0; 6],
        status: 0,
        flags: 0,
        users: 0,
        reserved_out: [0; 13],
    };
    // SAFETY: FS_IOC_GET_ENCRYPTION_KEY_STATUS reads and writes a `fscrypt_get_key_status_arg`.
    unsafe { ioctl::ioctl(folder, Updater::<KEY_STATUS, _>::new(&mut status))? };
    Ok(status.status == KEY_PRESENT)
}

/// Encrypts everything that will be in an empty folder: contents with AES-256-XTS, names with AES-256-CTS.
pub fn policy_set(folder: impl AsFd, identifier: Identifier) -> Result<(), Errno> {
    let policy = Policy {
        version: POLICY_V2,
        contents: AES_256_XTS,
        names: AES_256_CTS,
        flags: PAD_32,
        reserved: [0; 4],
        identifier: identifier.0,
    };
    // SAFETY: FS_IOC_SET_ENCRYPTION_POLICY reads a policy, whose first byte says which version's layout it has.
    unsafe { ioctl::ioctl(folder, Setter::<SET_POLICY, _>::new(policy)) }
}

/// The key that a folder is encrypted with; `None` where it isn't. A policy of another kind is EOPNOTSUPP.
pub fn policy_get(folder: impl AsFd) -> Result<Option<Identifier>, Errno> {
    let mut found = GetPolicy {
        size: size_of::<Policy>() as u64,
        policy: Policy {
            version: 0,
            contents: 0,
            names: 0,
            flags: 0,
            reserved: [0; 4],
            identifier: [0; 16],
        },
    };
    // SAFETY: FS_IOC_GET_ENCRYPTION_POLICY_EX reads `size`, and writes a policy of at most so many bytes.
    match unsafe { ioctl::ioctl(folder, Updater::<GET_POLICY, _>::new(&mut found)) } {
        Ok(()) => {}
        Err(Errno::NODATA) => return Ok(None),
        Err(error) => return Err(error),
    }
    let Policy {
        version,
        contents,
        names,
        identifier,
        ..
    } = found.policy;
    if (version, contents, names) != (POLICY_V2, AES_256_XTS, AES_256_CTS) {
        return Err(Errno::OPNOTSUPP);
    }
    Ok(Some(Identifier(identifier)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_the_kernels() {
        // Sizes and numbers as the kernel's headers give them to a C compiler.
        assert_eq!(size_of::<LoopInfo>(), 232);
        assert_eq!(size_of::<LoopConfig>(), 304);
        assert_eq!(size_of::<KeySpecifier>(), 40);
        assert_eq!(size_of::<AddKey>(), 80 + KEY_BYTES);
        assert_eq!(size_of::<RemoveKey>(), 64);
        assert_eq!(size_of::<KeyStatus>(), 128);
        assert_eq!(size_of::<Policy>(), 24);
        assert_eq!(SET_POLICY, 0x800c_6613);
        assert_eq!(GET_POLICY, 0xc009_6616);
        assert_eq!(ADD_KEY, 0xc050_6617);
        assert_eq!(REMOVE_KEY, 0xc040_6618);
        assert_eq!(KEY_STATUS, 0xc080_661a);
        assert_eq!(EXT4_RESIZE, 0x4008_6610);
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        let folder = std::fs::File::open("/").unwrap();
        assert_eq!(key_add(&folder, &DataKey::new(vec![1; 32])), Err(Errno::INVAL));
    }
}
