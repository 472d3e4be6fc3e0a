//! Ranks that are GPUs: what one sends another goes from device to device, queued on their streams of work.
//!
//! The threads that ask the devices for work meet at every exchange, in main memory: first each tells the others what it will send,
//! then that it has the memory for what it will receive. So a rank that fails before that ends the others as on a processor, and no
//! device is left waiting for one that will not come. None of these threads waits for its device.

use std::sync::Arc;

use super::{Parcel, Rank, SAME, Team, pools};
use crate::cuda::{CudaTensor, Links, rehearse};
use crate::error::bail;
use crate::{DType, Device, Error, Result, Tensor};

/// Shape and type of a tensor that will come.
pub(super) type Shape = (Vec<usize>, DType);

impl Team {
    /// GPUs of this machine, one a rank. An error in words if they are not all GPUs of one kind, or if what links them is not there or
    /// does not carry what it is given.
    pub fn of_gpus(devices: &[Device]) -> Result<Team> {
        let [first, others @ ..] = devices else { bail!("a team has at least one rank") };
        if others.is_empty() {
            return Ok(Team::alone());
        }
        let cuda = |device: &Device| match device.as_cuda() {
            Some(cuda) => Ok(Arc::clone(cuda)),
            None => bail!("a team of GPUs was given {device}"),
        };
        let all = devices.iter().map(cuda).collect::<Result<Vec<_>>>()?;
        for (device, other) in others.iter().zip(&all[1..]) {
            let (one, other) = (all[0].about(), other.about());
            if (&one.name, one.capability) != (&other.name, other.capability) {
                bail!("GPUs of one world are of one kind: {first} is {one}, {device} is {other}");
            }
        }
        let links = Some(Links::between(all)?);
        let team = Team { pools: pools(devices.len(), 1)?, links, ..Team::alone() };
        team.must_exchange()?;
        Ok(team)
    }

    /// An error if what ranks send is not what they receive. Also, the library opens its ways between two devices here, and not in the
    /// first chunk.
    fn must_exchange(&self) -> Result<()> {
        let each = 256 * self.ranks();
        let links = self.links.as_ref().expect("a team of GPUs");
        let numbers = |rank: usize| (0..each).map(move |place| (rank * each + place) as f32);
        let gathered = self.run(&mut vec![(); self.ranks()], |rank, ()| -> Result<Vec<f32>> {
            let device = rank.device().expect("a team of GPUs");
            let own = Tensor::from_vec(numbers(rank.number()).collect::<Vec<_>>(), [1, each], &device)?;
            let [heads] = rank.own_heads([&own])?;
            let there_and_back = rank.own_tokens(heads)?;
            Tensor::cat(&[rank.gather(own)?, rank.gather(there_and_back)?], 0)?.to_vec()
        })?;
        let expected: Vec<f32> = (0..2 * self.ranks()).flat_map(|rank| numbers(rank % self.ranks())).collect();
        match gathered.iter().position(|gathered| *gathered != expected) {
            None => Ok(()),
            Some(rank) => {
                let (device, library) = (Device::of_cuda(&links.devices()[rank]), links.library());
                bail!("{library} gave {device} other numbers than were sent to it: several GPUs are not used")
            }
        }
    }

    /// The library between the GPUs, in words. `None` if there is none between ranks.
    pub fn library(&self) -> Option<String> {
        self.links.as_ref().map(|links| links.library())
    }

    /// As [`Device::rehearse`], on every GPU of the team; on `device` if it has none.
    pub fn rehearse<E>(
        &self,
        device: &Device,
        work: impl FnMut() -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        match &self.links {
            None => device.rehearse(work),
            Some(links) => rehearse(links.devices(), work),
        }
    }
}

impl Rank {
    /// As [`Rank::exchange`]. `parts`: what each rank gets of this one.
    pub(super) fn exchange_between_gpus(
        &self,
        links: &Links,
        dim: usize,
        parts: &[Vec<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let here = |tensor: &Tensor| tensor.as_cuda().cloned().ok_or_else(|| Error::new("a GPU sends what lies on it"));
        let parts = parts.iter().map(|part| part.iter().map(here).collect()).collect::<Result<Vec<Vec<_>>>>()?;
        let shapes = self.tell(|rank| shapes(&parts[rank]))?;
        // What is joined along its first side is received where it belongs.
        let cuda = &links.devices()[self.number];
        let mut places = vec![Vec::new(); self.count()];
        let mut whole = Vec::new();
        for (i, own) in parts[self.number].iter().enumerate() {
            let lengths: Vec<usize> = shapes.iter().map(|shapes| shapes[i].0[dim]).collect();
            if dim == 0 {
                let mut shape = own.shape().to_vec();
                shape[0] = lengths.iter().sum();
                let joined = CudaTensor::unwritten(cuda, &shape, own.dtype())?;
                let mut first = 0;
                for (place, length) in places.iter_mut().zip(lengths) {
                    place.push(joined.narrow(0, first, length)?);
                    first += length;
                }
                whole.push(joined);
            } else {
                for (rank, (place, shapes)) in places.iter_mut().zip(&shapes).enumerate() {
                    let (shape, dtype) = &shapes[i];
                    let received =
                        if rank == self.number { Ok(own.clone()) } else { CudaTensor::unwritten(cuda, shape, *dtype) };
                    place.push(received?);
                }
            }
        }
        self.all_are_ready()?;
        links.exchange(self.number, &of_others(self.number, &parts), &of_others(self.number, &places))?;
        if dim == 0 {
            for (place, own) in places[self.number].iter().zip(&parts[self.number]) {
                place.overwrite(own)?;
            }
            return Ok(whole.into_iter().map(Tensor::from).collect());
        }
        let join = |i: usize| {
            let parts: Vec<&CudaTensor> = places.iter().map(|place| &place[i]).collect();
            Ok(CudaTensor::cat(&parts, dim)?.into())
        };
        (0..parts[0].len()).map(join).collect()
    }

    /// As [`Rank::spread`].
    pub(super) fn spread_over_gpus(&self, links: &Links, tensor: &Tensor) -> Result<Tensor> {
        let Some(given) = tensor.as_cuda().filter(|given| Arc::ptr_eq(given.cuda(), &links.devices()[0])) else {
            bail!("the first rank has {}, and was given a tensor on {}", links.devices()[0].number(), tensor.device())
        };
        let received = match self.number {
            0 => given.clone(),
            number => CudaTensor::unwritten(&links.devices()[number], given.shape(), given.dtype())?,
        };
        self.all_are_ready()?;
        match self.number {
            0 => links.exchange(0, &(1..self.count()).map(|rank| (rank, given.clone())).collect::<Vec<_>>(), &[])?,
            number => links.exchange(number, &[], &[(0, received.clone())])?,
        }
        Ok(received.into())
    }

    /// What each rank will send this one. `of`: what this one will send each.
    fn tell(&self, of: impl Fn(usize) -> Vec<Shape>) -> Result<Vec<Vec<Shape>>> {
        let told = self.exchange_parcels(|rank| Ok(Parcel::Shapes(of(rank))))?;
        let shapes = |parcel| match parcel {
            Parcel::Shapes(shapes) => shapes,
            _ => panic!("{SAME}"),
        };
        Ok(told.into_iter().map(shapes).collect())
    }

    /// Until every rank has the memory for what it will receive.
    fn all_are_ready(&self) -> Result<()> {
        self.exchange_parcels(|_| Ok(Parcel::Ready)).map(|_| ())
    }
}

/// What goes to each other rank, or comes from it: `parts`, rank by rank.
fn of_others(own: usize, parts: &[Vec<CudaTensor>]) -> Vec<(usize, CudaTensor)> {
    let of = |rank: usize| parts[rank].iter().map(move |one| (rank, one.clone()));
    (0..parts.len()).filter(|&rank| rank != own).flat_map(of).collect()
}

fn shapes(tensors: &[CudaTensor]) -> Vec<Shape> {
    tensors.iter().map(|one| (one.shape().to_vec(), one.dtype())).collect()
}

#[cfg(test)]
mod tests;
