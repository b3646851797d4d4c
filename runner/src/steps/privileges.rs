//! Capabilities, and the ways to get new privileges.
#![forbid(unsafe_code)]

use std::io;

/// Closes the ways to get capabilities back. Before a change of user, which then does not take those
/// that are there.
#[cfg(target_os = "linux")]
pub(crate) fn bound() -> io::Result<()> {
    use rustix::thread::{
        CapabilitiesSecureBits as Bits, CapabilitySet, capabilities, set_capabilities_secure_bits,
    };
    // Only with this capability may the bounding set be changed. Who lacks it cannot gain by it
    // either, once no new privileges can be had.
    if capabilities(None)?
        .effective
        .contains(CapabilitySet::SETPCAP)
    {
        for number in 0..64 {
            if !crate::sys::drop_bounding_capability(number)? {
                break;
            }
        }
        set_capabilities_secure_bits(
            Bits::NO_ROOT
                | Bits::NO_ROOT_LOCKED
                | Bits::NO_SETUID_FIXUP
                | Bits::NO_SETUID_FIXUP_LOCKED
                | Bits::KEEP_CAPS_LOCKED
                | Bits::NO_CAP_AMBIENT_RAISE
                | Bits::NO_CAP_AMBIENT_RAISE_LOCKED,
        )?;
    }
    Ok(())
}

/// Gives up those that are there.
#[cfg(target_os = "linux")]
pub(crate) fn give_up() -> io::Result<()> {
    use rustix::thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities,
        set_no_new_privs,
    };
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    Ok(set_no_new_privs(true)?)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn bound() -> io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn give_up() -> io::Result<()> {
    Ok(())
}
