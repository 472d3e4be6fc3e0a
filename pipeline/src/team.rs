//! Who draws a world together, and which numbers of them can share a model.

use ops::Device;
use ops::collective::Team;

use crate::load::error::LoadError;

/// What ranks divide among themselves in attention.
pub(crate) struct Divided {
    /// What it is called.
    pub what: &'static str,
    /// How many there are.
    pub count: usize,
}

/// Who draws a world: one device alone, several ranks on threads of the processor, or several GPUs.
#[derive(Debug, Clone)]
pub struct Members {
    /// One, or one a rank.
    devices: Vec<Device>,
    ranks: usize,
}

impl Members {
    /// One device, whose threads are so many ranks.
    pub fn of(device: &Device, ranks: usize) -> Members {
        Members { devices: vec![device.clone()], ranks }
    }

    /// GPUs, one a rank. An error if there is none.
    pub fn gpus(devices: Vec<Device>) -> ops::Result<Members> {
        match devices.len() {
            0 => Err(ops::Error::new("no GPU was named")),
            ranks => Ok(Members { devices, ranks }),
        }
    }

    /// Where everything lies that is there once.
    pub fn first(&self) -> &Device {
        &self.devices[0]
    }

    /// The devices: one, or one a rank.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// How many ranks there are.
    pub fn ranks(&self) -> usize {
        self.ranks
    }

    /// The same, with the dense layers of a processor in another type.
    pub fn computing_in(&self, compute: ops::Compute) -> Members {
        let devices = self.devices.iter().map(|device| device.computing_in(compute)).collect();
        Members { devices, ranks: self.ranks }
    }

    /// Try what carries numbers between the GPUs. → that library, in words; `None` where there is no second GPU. An error says what is
    /// missing, before anything is loaded.
    pub fn try_links(&self) -> ops::Result<Option<String>> {
        match self.devices.len() {
            1 => Ok(None),
            _ => Ok(Team::of_gpus(&self.devices)?.library()),
        }
    }

    /// The team, for a model with these heads. An error that names what cannot be shared.
    pub(crate) fn team(&self, heads: &[Divided]) -> Result<Team, LoadError> {
        check(self.ranks, heads)?;
        if self.devices.len() > 1 {
            return Ok(Team::of_gpus(&self.devices)?);
        }
        let device = self.first();
        if self.ranks > 1 && device.about().is_some() {
            let reason = format!(
                "several ranks on {device} alone are not built: --ranks is for threads of the processor, and several GPUs are named \
                 with --gpus 0,1"
            );
            return Err(ops::Error::new(reason).into());
        }
        Ok(Team::of_threads(self.ranks)?)
    }
}

/// An error if ranks cannot take as many heads each.
pub(crate) fn check(ranks: usize, heads: &[Divided]) -> ops::Result<()> {
    let Some(Divided { what, count }) = heads.iter().find(|heads| ranks == 0 || heads.count % ranks != 0) else {
        return Ok(());
    };
    let fits = |ranks: &usize| heads.iter().all(|heads| heads.count % ranks == 0);
    let possible: Vec<String> = (1..=*count).filter(fits).map(|ranks| ranks.to_string()).collect();
    Err(ops::Error::new(format_args!(
        "{ranks} ranks cannot share {count} {what}: each takes as many as the others. This model can be shared by {} ranks",
        or(&possible)
    )))
}

/// `1, 2 or 4`
fn or(all: &[String]) -> String {
    match all {
        [] => String::new(),
        [one] => one.clone(),
        [others @ .., last] => format!("{} or {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_share_every_kind_of_heads_evenly_or_are_refused_with_the_numbers_that_can() {
        let check = |ranks, counts: &[usize]| {
            let heads: Vec<_> = counts.iter().map(|&count| Divided { what: "heads", count }).collect();
            check(ranks, &heads).map_err(|error| error.to_string())
        };
        // LingBot World of 14B and of 1.3B, Cosmos3 Nano.
        for ranks in [1, 2, 4, 5, 8, 10, 20, 40] {
            assert_eq!(check(ranks, &[40]), Ok(()));
        }
        let refused = check(3, &[40]).expect_err("40 heads");
        assert!(refused.contains("3 ranks cannot share 40 heads") && refused.contains("1, 2, 4, 5, 8, 10, 20 or 40"));
        let refused = check(8, &[12]).expect_err("12 heads");
        assert!(refused.ends_with("by 1, 2, 3, 4, 6 or 12 ranks"), "{refused}");
        assert_eq!(check(8, &[32, 8]), Ok(()));
        let refused = check(16, &[32, 8]).expect_err("8 heads of keys");
        assert!(refused.contains("16 ranks cannot share 8 heads") && refused.ends_with("by 1, 2, 4 or 8 ranks"));
        assert!(check(0, &[4]).is_err());
    }
}
