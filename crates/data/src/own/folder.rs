//! Folders of pictures.

use std::{
    fs,
    path::{Path, PathBuf},
};

use lyceum_core::{Error, Result, interrupt, memory};

use super::{LISTED, Layout, Named, NamedPart, Reading};
use crate::{Extent, Inputs, formats::picture, inputs::BytesWriter};

/// A picture and what it shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// The file.
    pub file: PathBuf,
    /// Its class.
    pub label: String,
    /// Its group, where there are groups.
    pub group: Option<String>,
}

/// Pictures that are decoded together.
const AT_ONCE: usize = 512;

pub(super) fn read(folders: &[&Path], reading: &Reading) -> Result<Named> {
    if reading.channels.is_some_and(|channels| channels != 1 && channels != 3) {
        return Err(Error::invalid("data.channels", reading.channels.unwrap_or(0), "1 (grey) or 3 (colour)"));
    }
    let mut listed = folders.iter().map(|folder| pictures(folder, reading)).collect::<Result<Vec<_>>>()?;
    if let Some(groups) = &reading.groups {
        super::check_groups(folders[0], groups, listed.iter().flatten().filter_map(|picture| picture.group.as_deref()))?;
        // Others need not be decoded.
        let wanted = |picture: &Picture| picture.group.as_ref().is_some_and(|group| groups.contains(group));
        listed.iter_mut().for_each(|pictures| pictures.retain(wanted));
    }
    let extent = extent(folders[0], &listed[0], reading)?;
    let parts = folders.iter().zip(listed).map(|(folder, listed)| part(folder, listed, extent, reading)).collect::<Result<_>>()?;
    Ok(Named { extent, parts, columns: Vec::new() })
}

/// The list that tells of the pictures, where one is there and the layout does not say that folders do.
pub(super) fn list_of(folder: &Path, reading: &Reading) -> Result<Option<PathBuf>> {
    let list = folder.join(LISTED);
    let wanted = reading.layout == Some(Layout::List) || reading.group.is_some() || reading.label.is_some();
    match reading.layout {
        Some(Layout::Class | Layout::GroupClass) => Ok(None),
        _ if list.is_file() => Ok(Some(list)),
        _ if wanted => {
            let asked = reading.label.as_deref().into_iter().chain(reading.group.as_deref()).map(|column| format!(", `{column}`"));
            Err(Error::Missing { path: list, hint: format!("It was to have the columns `file_name`{}.", asked.collect::<String>()) })
        }
        _ => Ok(None),
    }
}

/// The pictures of a folder, each with its class and, where there are groups, its group.
///
/// # Errors
///
/// A folder that cannot be read, and a list that is not what it should be.
pub fn pictures(folder: &Path, reading: &Reading) -> Result<Vec<Picture>> {
    if let Some(list) = list_of(folder, reading)? {
        return listed(folder, &list, reading);
    }
    let mut found = Vec::new();
    let groups = match reading.layout {
        Some(Layout::GroupClass) => sub_folders(folder)?.into_iter().map(|path| (Some(name(&path)), path)).collect(),
        _ => vec![(None, folder.to_owned())],
    };
    for (group, folder) in groups {
        for class in sub_folders(&folder)? {
            let label = name(&class);
            let own = |file| Picture { file, label: label.clone(), group: group.clone() };
            found.extend(picture::in_folder(&class)?.into_iter().map(own));
        }
    }
    Ok(found)
}

/// What a list tells; of a picture whose class it does not tell, the folder does.
fn listed(folder: &Path, list: &Path, reading: &Reading) -> Result<Vec<Picture>> {
    let failed = |error: csv::Error| Error::damaged(list, error.to_string());
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(list).map_err(failed)?;
    let names: Vec<String> = reader.headers().map_err(failed)?.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
    let place = |column: &str| names.iter().position(|name| name == column);
    let wanted = |column: &str, of: &str| {
        place(column)
            .ok_or_else(|| Error::damaged(list, format!("has the columns {}; allowed: one called `{column}`{of}", names.join(", "))))
    };
    let file = wanted("file_name", "")?;
    let label = match &reading.label {
        Some(column) => Some(wanted(column, &format!(" ({})", reading.label_key()))?),
        None => place("label"),
    };
    let group = reading.group.as_deref().map(|column| wanted(column, " (data.group)")).transpose()?;
    let mut found = Vec::new();
    for record in reader.records() {
        let record = record.map_err(failed)?;
        let line = record.position().map_or(0, csv::Position::line);
        let path = Path::new(&record[file]);
        let inside = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !inside || !picture::is_one(path) {
            let text = format!("line {line}: found `{:.80}`; allowed: a .png or .jpg file in this folder", &record[file]);
            return Err(Error::damaged(list, text));
        }
        let label = match label {
            Some(place) => record[place].to_owned(),
            // No folder is a number.
            None if reading.numbers => String::new(),
            None => path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        };
        if label.is_empty() && !reading.numbers {
            return Err(Error::damaged(
                list,
                format!("line {line}: tells no class; allowed: a column `label`, or a folder for each class"),
            ));
        }
        found.push(Picture { file: folder.join(path), label, group: group.map(|place| record[place].to_owned()) });
    }
    Ok(found)
}

fn sub_folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    paths.sort();
    if paths.is_empty() { Err(Error::damaged(folder, "has no sub-folders; allowed: one for each class")) } else { Ok(paths) }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The extent that pictures are brought to.
fn extent(folder: &Path, pictures: &[Picture], reading: &Reading) -> Result<Extent> {
    if let (Some([height, width]), Some(channels)) = (reading.size, reading.channels) {
        return Ok(Extent { channels, height, width });
    }
    for picture in pictures {
        match picture::extent(&picture.file) {
            Ok(found) => {
                let [height, width] = reading.size.unwrap_or([found.height, found.width]);
                return Ok(Extent { channels: reading.channels.unwrap_or(found.channels), height, width });
            }
            Err(_) if reading.skip_bad => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::damaged(folder, "has no pictures; allowed: PNG or JPEG files in the folders of the classes"))
}

fn part(folder: &Path, pictures: Vec<Picture>, extent: Extent, reading: &Reading) -> Result<NamedPart> {
    memory::check("data.size", &[extent.channels, extent.height, extent.width])?;
    let mut part = NamedPart { inputs: Inputs::bytes(Vec::new(), extent.len()), labels: vec![], groups: vec![], names: vec![] };
    let mut writer = BytesWriter::new(pictures.len(), extent.len(), &reading.spill)?;
    for some in pictures.chunks(AT_ONCE) {
        interrupt::check()?;
        let files: Vec<&Path> = some.iter().map(|picture| picture.file.as_path()).collect();
        for (picture, bytes) in some.iter().zip(picture::bytes_of_all(&files, extent, reading.fit)) {
            match bytes {
                Ok(bytes) => writer.push(&bytes)?,
                Err(_) if reading.skip_bad => continue,
                Err(error) => return Err(error),
            }
            part.labels.push(picture.label.clone());
            part.groups.extend(picture.group.clone());
            part.names.push(picture.file.strip_prefix(folder).unwrap_or(&picture.file).display().to_string());
        }
    }
    part.inputs = writer.finish()?;
    Ok(part)
}
