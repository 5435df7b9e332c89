//! Stories that have a tenant to themselves, strike nobody, and measure no pause: they run beside each other, each waiting
//! while another one's database starts. All others have the cluster to themselves.

mod adversity;
mod class;
mod destruction;
mod hostnames;
mod isolation;
mod issuer;
mod leaving;
mod moved;
mod storage;
mod suspension;
